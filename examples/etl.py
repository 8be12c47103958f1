"""Sums up the sales of each product: reads CSV files with pandas and fsspec, and writes a Parquet file.

Without arguments it makes its own data, in the memory of the process. Run it, and see what it did:

    pip install fsspec pandas pyarrow
    encore run examples/etl.py
    encore run examples/etl.py s3://bucket/sales file:///tmp/report

The cache fetches whole files, also where a part is enough: compare the bytes that it delivers with those of the file
system below.
"""

import hashlib
import sys
from collections.abc import Iterator

import fsspec
import pandas as pd
from fsspec import AbstractFileSystem

MONTHS = [f"2026-{month:02}" for month in range(1, 7)]
CURRENCIES = ["EUR", "SEK", "USD"]
ROWS = 5_000


def make_sales(files: AbstractFileSystem, folder: str) -> None:
    """Write a file of sales for each month, and the exchange rates of every second one."""
    for number, month in enumerate(MONTHS):
        rows = range(number, ROWS + number)
        sales = pd.DataFrame(
            {
                "product": [f"product {row % 17}" for row in rows],
                "currency": [CURRENCIES[row % len(CURRENCIES)] for row in rows],
                "amount": [row * 7919 % 1000 / 10 for row in rows],
                "order": [hashlib.sha256(f"{month} {row}".encode()).hexdigest() for row in rows],
            }
        )
        files.pipe_file(f"{folder}/{month}.csv", sales.to_csv(index=False).encode())
        if number % 2 == 0:
            files.pipe_file(f"{folder}/rates/{month}.csv", b"currency,rate\nEUR,1.0\nSEK,0.09\nUSD,0.9\n")


def extract(source: str) -> Iterator[pd.DataFrame]:
    """Read the sales of each month in euros, at the latest known exchange rates."""
    files, folder = fsspec.url_to_fs(source)
    rates = pd.Series(1.0, index=CURRENCIES)
    for path in sorted(files.glob(f"{folder}/*.csv")):
        name = path.rpartition("/")[2]
        try:
            with files.open(f"{folder}/rates/{name}") as file:
                rates = pd.read_csv(file, index_col="currency")["rate"]
        except FileNotFoundError:
            print(f"{name}: no exchange rates, those of the month before are used")
        with files.open(path) as file:
            sales = pd.read_csv(file)
        yield sales.assign(month=name.removesuffix(".csv"), euros=sales["amount"] * sales["currency"].map(rates))


def load(sales: pd.DataFrame, target: str) -> None:
    """Write all sales as Parquet."""
    files, folder = fsspec.url_to_fs(target)
    files.makedirs(folder, exist_ok=True)
    with files.open(f"{folder}/sales.parquet", "wb") as file:
        sales.to_parquet(file, engine="pyarrow", index=False)


def report(target: str) -> pd.Series:
    """Return the sum of each product, of which a cache fetches all columns and pandas reads two."""
    files, folder = fsspec.url_to_fs(f"simplecache::{target}")
    with files.open(f"{folder}/sales.parquet") as file:
        sales = pd.read_parquet(file, engine="pyarrow", columns=["product", "euros"])
    return sales.groupby("product")["euros"].sum().sort_values(ascending=False)


def main(source: str | None = None, target: str = "memory://report") -> None:
    """Read all sales, write them as one file, and print the best products."""
    if source is None:
        source = "memory://sales"
        make_sales(*fsspec.url_to_fs(source))
    months = list(extract(source))
    if not months:
        sys.exit(f"there are no CSV files in {source!r}")
    load(pd.concat(months), target)
    print(report(target).head(3).round(2).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
