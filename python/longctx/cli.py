"""The ``longctx`` command: thin over the library. Results on stdout, progress and errors on stderr."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from longctx import cli_learn
from longctx.cli_output import CellGroup, ChunkGroup, PredictionGroup, counted, emit, say
from longctx.data.readers import InputFormat, read_documents
from longctx.data.sources import SourceDocument, grouped
from longctx.data.writers import atomic_file, check_output
from longctx.documents import is_utf8
from longctx.errors import ConfigError, LongctxError, ReadError
from longctx.results import Prediction, Predictions
from longctx.run_stats import RunStats

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # as shells have it: 128 + SIGINT
_PREDICTIONS_PER_GROUP = 16  # written together: small, because a classifier on a CPU is slow and results should appear

app = typer.Typer(
    name="longctx",
    help="Classify documents of any length with any encoder, and cut them into rows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Inputs = Annotated[
    list[str] | None,
    typer.Argument(help="Text files, folders, .jsonl, .jsonl.gz, .csv, .tsv, .parquet; '-' reads standard input."),
]
Texts = Annotated[list[str] | None, typer.Option("--text", help="A literal text as a document; may be repeated.")]
TextColumn = Annotated[str, typer.Option(help="Column that holds the text, in files with columns.")]
IdColumn = Annotated[str | None, typer.Option(help="Column that holds the id; otherwise path#row.")]
Format = Annotated[InputFormat, typer.Option(help="How to read the inputs; auto goes by each file's name.")]
MaxTokens = Annotated[int | None, typer.Option(help="Length of a row, special tokens included.")]
OverlapTokens = Annotated[int | None, typer.Option(help="Tokens that neighbouring chunks share.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write results to a .jsonl or .parquet file.")]


def main() -> None:
    """Entry point: run the command line and exit. Errors are one line on stderr and exit status 2."""
    if sys.stderr is None:  # closed by the caller: messages have nowhere to go
        sys.stderr = io.StringIO()
    try:
        status = app(prog_name="longctx", standalone_mode=False)
    except typer.Abort:
        status = EXIT_INTERRUPTED
    except Exception as error:
        problem = _problem(error)
        if problem is None:
            raise
        if problem:
            say(f"longctx: error: {problem}")
        status = EXIT_ERROR
        _drop_unwritable_output()
    sys.exit(status)


def _drop_unwritable_output() -> None:
    """Let go of what standard output would not take: Python tries again at exit, and makes it a status of its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _problem(error: Exception) -> str | None:
    """Say what the user did wrong, in one line where typer takes six; "" where it has shown its help; None where it was not the user."""
    if isinstance(error, LongctxError):
        return str(error)
    if not hasattr(error, "format_message"):  # typer's errors; their base class has moved between its versions
        return None
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    command = "longctx" if context is None else context.command_path
    return message and f"{message}; see '{command} --help'"


def _show_version(wanted: bool) -> None:
    if wanted:
        from longctx.doctor import package_version

        typer.echo(f"longctx {package_version('longctx')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    pass


@app.command(epilog="Example: longctx classify reviews.jsonl --text-column review --model ./my-model --output results.jsonl")
def classify(
    inputs: Inputs = None,
    *,
    text: Texts = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A checkpoint: folder or hub id. Without it, --labels is needed."),
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Label names for zero-shot, with commas: sports,politics")] = None,
    label: Annotated[list[str] | None, typer.Option(help="One label name; may be repeated and hold commas.")] = None,
    text_column: TextColumn = "text",
    id_column: IdColumn = None,
    input_format: Format = InputFormat.AUTO,
    aggregate: Annotated[str, typer.Option(help="How the results of chunks become one, like mean or max.")] = "auto",
    max_tokens: MaxTokens = None,
    overlap_tokens: OverlapTokens = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16, int8.")] = "auto",
    backend: Annotated[str, typer.Option(help="What computes on a CPU: auto, torch, openvino.")] = "auto",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same bits for a document in any company; slower.")] = False,
    output: Output = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a report with the passages to an .html file; holds all results in memory.")
    ] = None,
    stats: Annotated[bool, typer.Option("--stats", help="Say at the end how fast it was and where the time went.")] = False,
) -> None:
    """Classify every document, all of it: a table on a terminal, JSON Lines on a pipe."""
    _check_results(inputs, output, html)
    names = _label_names(labels, label)
    if model is None and names is None:
        raise ConfigError("nothing to classify with; give --model CHECKPOINT, or --labels a,b,c for zero-shot, or both")
    documents = _documents(inputs, text, text_column=text_column, id_column=id_column, input_format=input_format)
    options = _given(max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    options |= {"model": model, "labels": names, "aggregate": aggregate}
    options |= {"device": device, "dtype": dtype, "backend": backend, "deterministic": deterministic}
    kept: list[Prediction] = []
    run = _Classification(documents, options)
    groups = _keeping(run, kept if html else None)
    columns = ("document", "label", "score", "tokens read", "decisive passage")
    emit(groups, output=output, columns=columns, doing="classified", done=lambda: _finish(run, kept, html=html, stats=stats))


@app.command(epilog="Example: longctx chunk book.txt --tokenizer ./tokenizer.json --max-tokens 512 --overlap-tokens 64")
def chunk(
    inputs: Inputs = None,
    *,
    text: Texts = None,
    tokenizer: Annotated[str, typer.Option("--tokenizer", "-t", help="tokenizer.json, a folder, or a hub id.")],
    text_column: TextColumn = "text",
    id_column: IdColumn = None,
    input_format: Format = InputFormat.AUTO,
    max_tokens: MaxTokens = None,
    overlap_tokens: OverlapTokens = None,
    boundary: Annotated[Literal["token", "word", "sentence", "paragraph"], typer.Option(help="Where a chunk may end.")] = "token",
    tail: Annotated[Literal["keep", "backfill", "balance", "merge"], typer.Option(help="What happens to a short last chunk.")] = "keep",
    output: Output = None,
) -> None:
    """Cut documents into chunks: a summary on a terminal, one JSON line a chunk on a pipe."""
    _check_results(inputs, output, None)
    documents = _documents(inputs, text, text_column=text_column, id_column=id_column, input_format=input_format)
    options = _given(max_tokens=max_tokens, overlap_tokens=overlap_tokens) | {"boundary": boundary, "tail": tail}
    columns = ("document", "characters", "tokens", "chunks")
    emit(_chunked(documents, tokenizer, options), output=output, columns=columns, doing="chunked", done=_nothing)


@app.command(epilog="Example: longctx doctor --json")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Show what this machine can do: versions, devices, engine, and a check of the speed that takes 2 seconds."""
    from longctx import doctor as examination

    examination.show(examination.examine(), form="json" if as_json else "table")


app.command(epilog="Example: longctx train train.jsonl --encoder minilm --freeze-encoder --out model/")(cli_learn.train)
app.command(epilog="Example: longctx evaluate model/ test.jsonl --train train.jsonl --json report.json")(cli_learn.evaluate)


def _documents(
    inputs: Sequence[str] | None,
    texts: Sequence[str] | None,
    *,
    text_column: str,
    id_column: str | None,
    input_format: InputFormat,
) -> Iterator[SourceDocument]:
    """Read the documents of the inputs, then hand out the literal texts."""
    if not inputs and not texts:
        raise ConfigError("no documents; give files or folders, '-' for standard input, or --text 'some text'")
    for n, literal_text in enumerate(texts or (), start=1):
        if not is_utf8(literal_text):
            raise ReadError(f"--text number {n} is not valid UTF-8; give text, or a file with --input-format text")
    literal = (SourceDocument(f"text-{n}", text, "--text") for n, text in enumerate(texts or (), start=1))
    if not inputs:
        return literal
    return itertools.chain(read_documents(inputs, text=text_column, id=id_column, format=input_format), literal)


def _at_least_one(documents: Iterator[SourceDocument]) -> Iterator[SourceDocument]:
    """Read the first document at once, so that a bad input is known before a model is loaded."""
    first = next(documents, None)
    if first is None:
        raise ReadError("the inputs hold no documents")
    return itertools.chain([first], documents)


class _Classification:
    """Groups of predictions, and afterwards what the run took."""

    def __init__(self, documents: Iterator[SourceDocument], options: dict[str, Any]) -> None:
        self._documents = documents
        self._options = options
        self.stats: RunStats | None = None

    def __iter__(self) -> Iterator[PredictionGroup]:
        documents = _at_least_one(self._documents)
        from longctx import LongDocumentClassifier

        classifier = LongDocumentClassifier.from_pretrained(**self._options)
        in_work: deque[SourceDocument] = deque()
        predictions = classifier.stream(document.text for document in _noting(documents, in_work))
        while group := list(itertools.islice(predictions, _PREDICTIONS_PER_GROUP)):
            yield PredictionGroup([in_work.popleft() for _ in group], Predictions(group))
        self.stats = classifier.last_run


def _noting(documents: Iterable[SourceDocument], taken: deque[SourceDocument]) -> Iterator[SourceDocument]:
    """Hand documents on and keep them until their predictions are there, which come in the same order."""
    for document in documents:
        taken.append(document)
        yield document


def _chunked(documents: Iterator[SourceDocument], tokenizer: str, options: dict[str, Any]) -> Iterator[ChunkGroup]:
    from longctx import Chunker

    chunker = Chunker.from_pretrained(tokenizer, dtype="int32", **options)
    for group in grouped(_at_least_one(documents), max_chars=1_000_000):
        yield ChunkGroup(group, chunker([document.text for document in group]))


def _keeping(groups: Iterable[PredictionGroup], kept: list[Prediction] | None) -> Iterator[CellGroup]:
    for group in groups:
        if kept is not None:
            kept.extend(group.predictions)
        yield group


def _finish(run: _Classification, predictions: list[Prediction], *, html: Path | None, stats: bool) -> None:
    _write_html(predictions, html)
    for line in str(run.stats).splitlines() if stats and run.stats is not None else ():
        say(line)


def _write_html(predictions: list[Prediction], path: Path | None) -> None:
    if path is None:
        return
    with atomic_file(path.resolve()) as file:
        file.write(Predictions(predictions).to_html().encode("utf-8"))
    say(f"report of {counted(len(predictions))} -> {path}")


def _nothing() -> None:
    pass


def _label_names(labels: str | None, label: Sequence[str] | None) -> list[str] | None:
    """Join the names of ``--labels a,b`` and every ``--label``; None when neither is given."""
    if labels is None and not label:
        return None
    names = [] if labels is None else [name.strip() for name in labels.split(",")]
    names += label or []
    if not all(names):
        raise ConfigError(f"--labels={labels!r} holds an empty name; write them like --labels sports,politics")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"label {repeated[0]!r} is given more than once; give each label once")
    return names


def _given(**options: Any) -> dict[str, Any]:
    """Keep the options that were given; the library has the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}


def _check_results(inputs: Sequence[str] | None, output: Path | None, html: Path | None) -> None:
    """Fail before the work where a result cannot be written, or would be read as a document by the next run."""
    targets = [] if output is None else [check_output(output)]
    if html is not None:
        targets.append(check_output(html, endings=(".html", ".htm")))
    for target, folder in itertools.product(targets, inputs or ()):
        if target == Path(folder).resolve():
            raise ConfigError(f"{os.fspath(folder)!r} is both input and output; write the result under another name")
        if Path(folder).is_dir() and target.is_relative_to(Path(folder).resolve()):
            raise ConfigError(f"the result {str(target)!r} lies in the input folder {folder!r}; write it elsewhere")


if __name__ == "__main__":
    main()
