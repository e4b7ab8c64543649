"""``Trainer``: a ``transformers.Trainer`` for documents of any length."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import transformers
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler

from longctx.errors import ConfigError, ModelLoadError, one_line
from longctx.inference.backends.base import read_facts
from longctx.learn.beginning import begin_head
from longctx.learn.encoded import ChunkDraw, EncodedDocuments, collate, encode_documents
from longctx.learn.gradient_cache import GradientCache
from longctx.learn.labelled import LabelledDocuments, encode_labels, read_labelled
from longctx.learn.losses import ClassWeights, loss_of
from longctx.learn.losses import class_weights as weights_of
from longctx.learn.metrics import flat_metrics
from longctx.learn.optimize import add_lora, parameter_groups, perturbed_embeddings, sum_of_gradients
from longctx.learn.outcome import Outcome
from longctx.learn.state_cache import frozen_documents
from longctx.nn.adapters import lora_layers
from longctx.nn.config import probabilities
from longctx.nn.model import ROW_TOKENS_TOGETHER, LongDocumentModel
from longctx.nn.model_files import WEIGHTS, save

if TYPE_CHECKING:
    from longctx.learn.report import Report

TRUTH_DTYPE = {"single_label": np.int64, "multi_label": np.float32, "regression": np.float32}
ADAPTERS = "training.safetensors"
"""Weights with the adapters still beside them, in checkpoints of a training with LoRA: what it goes on from."""


class Trainer(transformers.Trainer):
    """Trains a ``LongDocumentModel`` on whole documents.

    Everything of ``transformers.Trainer`` works: AdamW and schedules, bf16, gradient accumulation, distributed training, checkpoints and
    resume, early stopping, TensorBoard, Weights & Biases. A checkpoint is a saved model: it can be given to ``chunk_and_classify``.

    Args:
        model: what is trained, in place.
        args: ``transformers.TrainingArguments``; also ``label_smoothing_factor`` and ``train_sampling_strategy="group_by_length"``.
        train: labelled documents: a file or files (JSONL, CSV, Parquet), a ``datasets.Dataset``, a table, pairs ``(text, label)``, dicts;
            or ``EncodedDocuments``, which are ready.
        validation: the same, for ``eval_strategy`` and early stopping.
        text: name of the column with the text.
        label: name of the column with the label: a name, a list of names (multi-label), or a number (regression).
        freeze_encoder: the encoder does not learn, until a trainer without this is made. Its states are computed once and kept on disk.
        state_cache: folder for these states; None for ``states`` in the cache folder of longctx.
        state_dtype: what the frozen encoder computes in, as ``dtype`` of ``chunk_and_classify``.
        gradient_cache: the exact gradient in the memory of ``token_budget`` tokens, for about a third more time: True, False, or "auto" for
            the steps whose documents have more tokens than that.
        token_budget: tokens of rows that go through the encoder at a time.
        max_train_chunks: at most so many chunks of a document in a training step, drawn anew each time; evaluation reads all.
        class_weights: "balanced", ``{label: weight}``, or None.
        layer_decay: factor by which each layer of the encoder learns slower than the one above it.
        head_learning_rate: of aggregator and head; None for ``args.learning_rate``.
        lora: True or a ``peft.LoraConfig``: adapters learn instead of the encoder, and are merged into it when the model is saved.
        adversarial_epsilon: over 0, each step also learns from word embeddings moved that far against it (FGM).
        **options: as for ``transformers.Trainer``, such as ``callbacks``, ``compute_metrics``, ``optimizers``.

    Raises:
        ConfigError: options exclude each other, or data and model do not fit; a wrong label, an empty text or a missing column is named
            with its row.
    """

    def __init__(
        self,
        model: LongDocumentModel,
        args: transformers.TrainingArguments | None = None,
        *,
        train: Any = None,
        validation: Any = None,
        text: str = "text",
        label: str = "label",
        freeze_encoder: bool = False,
        state_cache: str | Path | None = None,
        state_dtype: str = "auto",
        gradient_cache: bool | Literal["auto"] = "auto",
        token_budget: int = ROW_TOKENS_TOGETHER,
        max_train_chunks: int | None = None,
        class_weights: ClassWeights = None,
        layer_decay: float | None = None,
        head_learning_rate: float | None = None,
        lora: Any = None,
        adversarial_epsilon: float = 0.0,
        **options: Any,
    ) -> None:
        _check_model(model)
        if freeze_encoder and (lora or adversarial_epsilon):
            raise ConfigError("freeze_encoder=True leaves nothing to adapt; leave lora= and adversarial_epsilon= out, or freeze_encoder.")
        if max_train_chunks is not None and max_train_chunks < 1:
            raise ConfigError(f"max_train_chunks={max_train_chunks}: use at least 1, or None for all chunks.")
        args = transformers.TrainingArguments(output_dir="longctx_training") if args is None else args
        if args.n_gpu > 1:
            args._n_gpu = 1  # DataParallel would tear documents apart; torchrun uses all devices
        if not torch.accelerator.is_available():
            args.dataloader_pin_memory = False  # memory is pinned for a device; without one torch warns, and pins nothing
        self._columns = {"text": text, "label": label}
        self._freeze = freeze_encoder
        self._state_cache = None if state_cache is None else Path(state_cache)
        self._state_dtype = state_dtype
        self._gradient_cache = gradient_cache
        self._token_budget = token_budget
        self._layer_decay = layer_decay
        self._head_rate = head_learning_rate
        self._epsilon = adversarial_epsilon
        given = {name: data for name, data in (("train", train), ("validation", validation)) if data is not None}
        self._labelled = {name: self._read(data, name) for name, data in given.items() if not isinstance(data, EncodedDocuments)}
        if freeze_encoder:
            model.freeze_encoder()
            if not args.use_cpu:
                model.encoder.to(args.device)
        else:
            model.thaw_encoder()
            if lora:
                add_lora(model, lora, seed=args.seed)
        data = given | {name: self._encode(model, documents) for name, documents in self._labelled.items()}
        self._weights = None
        if "train" in data:
            truth = data["train"].truth
            self._weights = weights_of(class_weights, truth, model.config.labels, model.config.problem)
            begin_head(model, data["train"])
        options.setdefault("compute_metrics", partial(_metrics, model))
        if max_train_chunks is not None and "train" in data:
            draw = ChunkDraw(max_train_chunks, args.seed)
            data["train"] = replace(data["train"], draw=draw)
            options["callbacks"] = [*(options.get("callbacks") or ()), _TellEpoch(draw)]
        super().__init__(model, args, collate, data.get("train"), data.get("validation"), **options)
        self.label_names = ["labels"]

    def train(self, *args: Any, **options: Any) -> Any:
        """As ``transformers.Trainer.train``. Another trainer of this model may have frozen its encoder, or have let it learn."""
        own = self._own(self.model)
        if self._freeze:
            own.freeze_encoder()
        else:
            own.thaw_encoder()
        return super().train(*args, **options)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Gradients of one step; twice with ``adversarial_epsilon``."""
        loss = self._step(model, inputs, num_items_in_batch)
        if self._epsilon:
            with perturbed_embeddings(self._own(model), self._epsilon):
                self._step(model, inputs, num_items_in_batch)
        if self._reduces_itself and self.accelerator.sync_gradients:
            sum_of_gradients(self._own(model), self._mean_over_processes)
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Mean loss over the documents, with class weights and label smoothing."""
        del num_items_in_batch
        values = model(inputs["documents"], token_budget=self._token_budget)
        loss = self._loss(values, inputs["labels"])
        return (loss, {"loss": loss, "logits": values}) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Loss, values and labels of some documents; all of their chunks are read."""
        del ignore_keys
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        values = None if prediction_loss_only else outputs["logits"].float()
        return loss.detach(), values, None if prediction_loss_only else inputs["labels"]

    def evaluate(  # type: ignore[override]  # wider: it takes labelled documents too
        self, test: Any = None, *args: Any, eval_dataset: Any = None, controls: bool = True, **options: Any
    ) -> Any:
        """Judge the model.

        Args:
            test: labelled documents of any kind that ``train`` may be: gives a ``Report``, beside two controls fitted on the training
                documents, and puts it into the model card. None: the validation documents' metrics as a dict, which is what training asks.
            *args: as for ``transformers.Trainer``.
            eval_dataset: the same as ``test``, by the name that transformers has for it.
            controls: also fit and judge the controls.
            **options: as for ``transformers.Trainer`` without ``test``, and for ``longctx.evaluate`` with it.
        """
        test = eval_dataset if test is None else test
        if test is None or isinstance(test, EncodedDocuments):
            return super().evaluate(test, *args, **options)
        return self.report(test, controls=controls, **options)

    def report(self, test: Any, *, controls: bool = True, **options: Any) -> Report:
        """As ``evaluate`` with ``test``."""
        from longctx.learn.evaluation import evaluate

        model = self._own(self.model)
        train = self._labelled.get("train") if controls else None
        was_training = model.training
        report = evaluate(model, test, train=train, **{"title": "Evaluation", **self._columns, **options})
        model.train(was_training)
        model.report = report
        return report

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW or what ``args.optim`` says, with the learning rates of the layers."""
        if self.optimizer is None and self.optimizer_cls_and_kwargs is None and (self._layer_decay or self._head_rate):
            own = self._own(self.model if model is None else model)
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, own)  # type: ignore[arg-type]  # any module does
            groups = parameter_groups(
                own,
                learning_rate=self.args.learning_rate,
                head_learning_rate=self._head_rate,
                layer_decay=self._layer_decay,
                weight_decay=self.args.weight_decay,
                decays=set(self.get_decay_parameter_names(own)),
            )
            self.optimizer = kind(groups, **settings)
        return super().create_optimizer(*(() if model is None else (model,)))

    def _read(self, data: Any, name: str) -> LabelledDocuments:
        return read_labelled(data, name=name, **self._columns)

    def _encode(self, model: LongDocumentModel, documents: LabelledDocuments) -> EncodedDocuments:
        config = model.config
        truth = encode_labels(documents, config.labels, config.problem).astype(TRUTH_DTYPE[config.problem])
        if self._freeze:
            return frozen_documents(model, documents.texts, truth, folder=self._state_cache, dtype=self._state_dtype)
        return encode_documents(documents.texts, truth, model.chunker(), takes_types=read_facts(model.encoder).takes_types)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        if getattr(self.args, "train_sampling_strategy", None) == "group_by_length":
            size = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return LengthGroupedSampler(size, lengths=data.n_chunks.tolist())
        return super()._get_train_sampler(data)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        # In their order, whatever training does: transformers would group documents to predict by length too, and fails for want of ids.
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None

    def _step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        if not self._caches(inputs):
            return super().training_step(model, inputs, num_items_in_batch)
        own = self._own(model)
        own.train()
        inputs = self._prepare_inputs(inputs)
        documents = inputs["documents"]
        cache = GradientCache(own, documents, token_budget=self._token_budget, precision=self._precision)
        values = cache.values()
        with self._precision():
            loss = self._loss(values, inputs["labels"])
        loss = loss / self.current_gradient_accumulation_steps
        self.accelerator.backward(loss)
        cache.replay()
        return loss.detach()

    def _caches(self, inputs: dict[str, Any]) -> bool:
        if self._freeze or self._gradient_cache is False:
            return False
        is_sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if is_sharded:  # weights are only together inside the wrapped model's own forward pass
            if self._gradient_cache is True:
                raise ConfigError(
                    "gradient_cache=True cannot go with FSDP or DeepSpeed; use 'auto' or False, and fewer documents at a time."
                )
            return False
        return self._gradient_cache is True or self._reduces_itself or int(inputs["documents"].lengths.sum()) > self._token_budget

    @property
    def _reduces_itself(self) -> bool:
        """Whether gradients of several processes are put together here: the cached step goes past what DDP watches."""
        return self.accelerator.num_processes > 1 and not (
            self._freeze or self._gradient_cache is False or self.is_fsdp_enabled or self.is_deepspeed_enabled
        )

    def _mean_over_processes(self, gradient: Tensor) -> None:
        torch.distributed.all_reduce(gradient)
        gradient /= self.accelerator.num_processes

    def _loss(self, values: Tensor, truth: Tensor) -> Tensor:
        problem = self._own(self.model).config.problem
        return loss_of(values, truth, problem, weights=self._weights, smoothing=self.args.label_smoothing_factor)

    def _precision(self) -> AbstractContextManager[object]:
        context: AbstractContextManager[object] = self.compute_loss_context_manager()
        return context if context is not None else nullcontext()

    def _own(self, model: Any) -> LongDocumentModel:
        own: LongDocumentModel = self.accelerator.unwrap_model(model)
        return own

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write a checkpoint, which is a saved model. One with adapters also holds them as they are, to go on from."""
        folder = Path(output_dir if output_dir is not None else str(self.args.output_dir))
        if not self.args.should_save:
            return
        own = self._own(self.model)
        save(own, folder, state_dict)
        if lora_layers(own):
            save_model(own, str(folder / ADAPTERS))
        torch.save(self.args, folder / TRAINING_ARGS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self._load_weights(Path(resume_from_checkpoint), self.model if model is None else model)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or self.state.best_model_checkpoint is None:
            super()._load_best_model()
        else:
            self._load_weights(Path(self.state.best_model_checkpoint), self.model)

    def _load_weights(self, folder: Path, model: Any) -> None:
        own = self._own(model)
        file = folder / (ADAPTERS if lora_layers(own) else WEIGHTS)
        try:
            load_model(own, file, strict=True)
        except (OSError, RuntimeError) as error:
            raise ModelLoadError(f"{str(file)!r} cannot be read, or is not of this model: {one_line(error)}") from error


class _TellEpoch(transformers.TrainerCallback):
    """Tells what draws chunks which epoch it is."""

    def __init__(self, draw: ChunkDraw) -> None:
        self._draw = draw

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """As transformers calls it."""
        del args, control, options
        self._draw.set_epoch(int(state.epoch or 0))


def _check_model(model: Any) -> None:
    if not isinstance(model, LongDocumentModel):
        raise ConfigError(f"model={type(model).__name__}: give a LongDocumentModel, made by LongDocumentModel.from_encoder(...).")


def _metrics(model: LongDocumentModel, predicted: Any) -> dict[str, float]:
    """Give what is logged in training for the validation documents."""
    config = model.config
    values = torch.from_numpy(np.asarray(predicted.predictions, np.float32))
    truth = np.asarray(predicted.label_ids)
    if config.problem == "multi_label":
        truth = truth > 0.5  # noqa: PLR2004 - floats that are 0 or 1
    scores = probabilities(values, config.problem).numpy()
    return flat_metrics(
        Outcome(config.problem, config.labels, scores, truth.astype(np.float64) if config.problem == "regression" else truth)
    )
