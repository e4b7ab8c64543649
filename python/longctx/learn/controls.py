"""What a linear model makes of the same split: of the words, or of one state a document. A model should do better than this."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ConfigError, one_line
from longctx.learn.extras import train_extra
from longctx.results import Problem

N_FOLDS = 3
"""Parts of the train documents, each left out once, on which the strength of the penalty is chosen."""
TUNING_DOCUMENTS = 1000
"""The strength is chosen on at most this many train documents, drawn by chance, which bounds its time."""
TUNED_LABELS = 20
"""Multi-label problems with more labels are trained without choosing, with the middle of the grid."""
_CS = (1.0, 10.0, 100.0)  # for TF-IDF, whose rows have length 1
_STATE_CS = (0.001, 0.01, 0.1, 1.0)  # for states, whose every entry has spread 1
_MAX_ITERATIONS = 2000
_SMALL_SET_DOCUMENTS = 50  # fewer have few terms in common
_MAX_TERMS = 100_000
_LONGEST_WORD_CHARS = 20  # more than this on average are no words: Chinese, Japanese and Thai write without blanks

Features = Any
"""Dense or sparse floats ``(n_documents, n_features)``."""
Scores = NDArray[np.float32]


def tfidf_control(
    train_texts: Sequence[str],
    train_truth: NDArray[Any],
    test_texts: Sequence[str],
    *,
    problem: Problem,
    seed: int,
    n_labels: int | None = None,
) -> Scores:
    """Decide by words alone: TF-IDF of one and two words, or characters for scripts without blanks, and a linear model.

    Args:
        train_texts: the documents to learn from.
        train_truth: as in :class:`~longctx.learn.outcome.Outcome`.
        test_texts: the documents to decide.
        problem: what is decided.
        seed: of the folds on which the penalty is chosen; the test documents have no part in that.
        n_labels: the classes of a single-label problem, where the highest ones may be missing in the train documents.

    Returns:
        float32 ``(n_test_documents, n_labels)``: probabilities, or values.

    Raises:
        ConfigError: the train documents have no terms, or all the same class.
    """
    train, test = _tfidf(train_texts, test_texts)
    return _linear(train, train_truth, test, problem=problem, penalty=_Penalty(_CS, seed), n_labels=n_labels)


def linear_control(
    train_states: NDArray[np.float32],
    train_truth: NDArray[Any],
    test_states: NDArray[np.float32],
    *,
    problem: Problem,
    seed: int,
    n_labels: int | None = None,
) -> Scores:
    """Decide by one state a document, float32 ``(n_documents, hidden)``, scaled to spread 1; otherwise as :func:`tfidf_control`."""
    with train_extra():
        from sklearn.preprocessing import StandardScaler
    scaler = StandardScaler().fit(train_states)
    train, test = scaler.transform(train_states), scaler.transform(test_states)
    return _linear(train, train_truth, test, problem=problem, penalty=_Penalty(_STATE_CS, seed), n_labels=n_labels)


def _tfidf(train_texts: Sequence[str], test_texts: Sequence[str]) -> tuple[Features, Features]:
    with train_extra():
        from sklearn.feature_extraction.text import TfidfVectorizer
    n_words, n_chars = sum(len(text.split()) for text in train_texts), sum(map(len, train_texts))
    analyzer = "char" if n_chars > n_words * _LONGEST_WORD_CHARS else "word"
    min_df = 1 if len(train_texts) < _SMALL_SET_DOCUMENTS else 2
    terms = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 2), min_df=min_df, max_features=_MAX_TERMS, sublinear_tf=True)
    try:
        return terms.fit_transform(train_texts), terms.transform(test_texts)
    except ValueError as error:
        raise ConfigError(f"TF-IDF finds no terms in the {len(train_texts)} train documents ({one_line(error)})") from error


def _linear(train: Features, truth: NDArray[Any], test: Features, *, problem: Problem, penalty: _Penalty, n_labels: int | None) -> Scores:
    if train.shape[0] != len(truth):
        raise ConfigError(f"{train.shape[0]} train documents with the truth of {len(truth)}; give one for each")
    if problem == "regression":
        return _values(train, truth, test, penalty)
    if problem == "multi_label":
        return _labels(train, truth, test, penalty)
    return _classes(train, truth, test, penalty, n_labels=n_labels or int(truth.max()) + 1)


def _classes(train: Features, truth: NDArray[Any], test: Features, penalty: _Penalty, *, n_labels: int) -> Scores:
    classes = np.unique(truth)
    if len(classes) == 1:
        raise ConfigError(f"all {len(truth)} train documents have class {classes[0]}; a control needs at least 2 classes to tell apart")
    scores = np.zeros((test.shape[0], n_labels), np.float32)
    scores[:, classes] = penalty.classifier(train, truth).predict_proba(test)
    return scores


def _labels(train: Features, truth: NDArray[Any], test: Features, penalty: _Penalty) -> Scores:
    """One model a label, as in one-versus-rest; those that never or always occur are constant."""
    share = truth.mean(axis=0)
    if len(share) > TUNED_LABELS:
        penalty = _Penalty((penalty.default,), penalty.seed)
    scores = np.tile((share == 1).astype(np.float32), (test.shape[0], 1))
    for label in np.flatnonzero((share > 0) & (share < 1)):
        scores[:, label] = penalty.classifier(train, truth[:, label]).predict_proba(test)[:, 1]
    return scores


def _values(train: Features, truth: NDArray[Any], test: Features, penalty: _Penalty) -> Scores:
    values: Scores = np.asarray(penalty.regressor(train, truth).predict(test), np.float32)
    return values.reshape(test.shape[0], -1)


@dataclass(frozen=True)
class _Penalty:
    """Chooses how freely a linear model may fit, among values of C for classes and their inverses for ridge, and trains it."""

    strengths: tuple[float, ...]
    seed: int

    @property
    def default(self) -> float:
        return self.strengths[len(self.strengths) // 2]

    def classifier(self, train: Features, truth: NDArray[Any]) -> Any:
        with train_extra():
            from scipy.sparse import issparse
            from sklearn.linear_model import LogisticRegression
            from sklearn.multiclass import OneVsRestClassifier
        model = LogisticRegression(C=self.default, max_iter=_MAX_ITERATIONS, random_state=self.seed)
        if not issparse(train):
            return self._fitted(model, {"C": self.strengths}, train, truth, scoring="f1_macro")
        # 24 classes, 100,000 terms: 4 s where lbfgs takes 23, because it moves a dense matrix of all weights. The tolerance is
        # LIBLINEAR's own for this solver; a smaller one takes twice the time and decides alike.
        each = OneVsRestClassifier(model.set_params(solver="liblinear", dual=True, tol=0.1))
        return self._fitted(each, {"estimator__C": self.strengths}, train, truth, scoring="f1_macro")

    def regressor(self, train: Features, truth: NDArray[Any]) -> Any:
        with train_extra():
            from sklearn.linear_model import Ridge
        alphas = {"alpha": tuple(1 / strength for strength in self.strengths)}
        return self._fitted(Ridge(alpha=1 / self.default), alphas, train, truth, scoring="neg_mean_squared_error")

    def _fitted(self, model: Any, grid: dict[str, tuple[float, ...]], train: Features, truth: NDArray[Any], *, scoring: str) -> Any:
        with train_extra():
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.model_selection import GridSearchCV
        chosen = np.random.default_rng(self.seed).permutation(len(truth))[:TUNING_DOCUMENTS]
        folds = self._folds(truth[chosen]) if len(self.strengths) > 1 else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a control a little short of its optimum is still one
            warnings.filterwarnings("ignore", "The least populated class")  # then not every fold has it; that is no error
            if folds is not None:
                search = GridSearchCV(model, grid, scoring=scoring, cv=folds, refit=False)
                model.set_params(**search.fit(train[chosen], truth[chosen]).best_params_)
            return model.fit(train, truth)

    def _folds(self, truth: NDArray[Any]) -> Any:
        """Folds each of which leaves something to learn from; None where there are too few documents for that."""
        with train_extra():
            from sklearn.model_selection import KFold, StratifiedKFold
        if truth.dtype.kind == "f":
            return KFold(N_FOLDS, shuffle=True, random_state=self.seed) if len(truth) >= 2 * N_FOLDS else None
        counts = np.sort(np.unique(truth, return_counts=True)[1])
        enough = len(counts) > 1 and counts[-2] >= N_FOLDS
        return StratifiedKFold(N_FOLDS, shuffle=True, random_state=self.seed) if enough else None
