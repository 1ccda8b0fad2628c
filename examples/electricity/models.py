"""Models of the Australian electricity market: a first one, a better one, and two with a mistake in them.

Will the price in New South Wales be above its average of the last 24 hours? Half-hours of 1996-98 (elec2).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["period", "nsw_price", "nsw_demand", "vic_price", "vic_demand", "transfer"]
WORDS = ["day_part"]
TARGET = "price_up"
_PARTS = np.array(["night", "morning", "afternoon", "evening"], dtype=object)


class Split(NamedTuple):
    """Time goes on: train on what came first, judge on what came later, serve what came after that."""

    train: pd.DataFrame
    golden: pd.DataFrame
    later: pd.DataFrame


def load(path: Path) -> Split:
    """The data with names for its columns: the first 20,000 half-hours to train, the 4,000 after them to judge, the rest."""
    frame = pd.read_csv(path)
    frame.columns = pd.Index([*NUMBERS, TARGET])
    frame.insert(0, "day_part", _PARTS[np.minimum((frame["period"] * 4).astype(int), 3)])
    return Split(frame.iloc[:20_000], frame.iloc[20_000:24_000], frame.iloc[24_000:])


def logistic(train: pd.DataFrame) -> Pipeline:
    """A linear model: the first version."""
    return _pipeline(LogisticRegression(max_iter=500), train, train[TARGET])


def boosted(train: pd.DataFrame) -> Pipeline:
    """Boosted trees: the better version. Trees need no scaling."""
    model = GradientBoostingClassifier(n_estimators=100, max_depth=2, subsample=0.5, random_state=0)
    return _pipeline(model, train, train[TARGET], numbers="passthrough")


def mistaken(train: pd.DataFrame) -> Pipeline:
    """The linear model after a slip in a data join: the labels are those of six hours later."""
    return _pipeline(LogisticRegression(max_iter=500), train, np.roll(train[TARGET].to_numpy(), -12))


def swapped(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a slip in an extract makes it: the prices of the two states in each other's column."""
    return frame.assign(nsw_price=frame["vic_price"], vic_price=frame["nsw_price"])


def _pipeline(model: object, train: pd.DataFrame, target: object, numbers: object | None = None) -> Pipeline:
    scale = StandardScaler() if numbers is None else numbers
    encode = ColumnTransformer(
        [("words", OneHotEncoder(handle_unknown="ignore"), WORDS), ("numbers", scale, NUMBERS)],
        sparse_threshold=0,
    )
    return Pipeline([("encode", encode), ("model", model)]).fit(train[WORDS + NUMBERS], target)
