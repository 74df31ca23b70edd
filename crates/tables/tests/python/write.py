"""Writes tables by pandas and pyarrow in every way that matters, and what pandas reads from them."""

import json
import pathlib
import sys
from datetime import date, datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(7)
ROWS = 1000


def some(values, share=0.2):
    """The values as a list, some of them None."""
    holes = random.random(len(values)) < share
    return [None if hole else value for value, hole in zip(values, holes)]


words = [f"wört {n % 17}" for n in range(ROWS)]
arrays = {
    "bool": pa.array(some([n % 3 == 0 for n in range(ROWS)])),
    **{
        f"{kind}{bits}": pa.array(
            some([int(x) for x in random.integers(*(lambda i: (i.min, i.max))(np.iinfo(f"{kind}{bits}")), ROWS, dtype=f"{kind}{bits}", endpoint=True)]),
            type=getattr(pa, f"{kind}{bits}")(),
        )
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
    "half": pa.array(random.normal(size=ROWS).astype(np.float16)),
    "single": pa.array(some([float(x) for x in random.normal(size=ROWS)]), type=pa.float32()),
    "double": pa.array([None, float("nan"), float("inf"), -0.0] + some([float(x) for x in random.normal(size=ROWS - 4)])),
    "text": pa.array(some(words)),
    "long_text": pa.array(some(["x" * (n * 7 % 900) for n in range(ROWS)]), type=pa.large_string()),
    "view": pa.array(some(words), type=pa.string_view()),
    "category": pa.array(some(words)).dictionary_encode(),
    "numbers": pa.array(some([n % 5 * 100 for n in range(ROWS)]), type=pa.int32()).dictionary_encode(),
    "binary": pa.array(some([bytes([n % 256, 255]) for n in range(ROWS)])),
    "fixed": pa.array(some([bytes([n % 256] * 3) for n in range(ROWS)]), type=pa.binary(3)),
    "ms": pa.array(some([n * 86_400_123 - 10**11 for n in range(ROWS)]), type=pa.timestamp("ms")),
    "us": pa.array([n * 1001 - 500_000 for n in range(ROWS)], type=pa.timestamp("us", tz="UTC")),
    "ns": pa.array(some([n * 1_000_001 for n in range(ROWS)]), type=pa.timestamp("ns", tz="Europe/Berlin")),
    "date": pa.array(some([date(1960 + n % 90, 1 + n % 12, 1 + n % 28) for n in range(ROWS)])),
    "decimal": pa.array(some([Decimal(n * 7 - 100) / 100 for n in range(ROWS)]), type=pa.decimal128(20, 2)),
    "null": pa.nulls(ROWS),
    "list": pa.array(some([list(range(n % 4)) for n in range(ROWS)])),
    "record": pa.array(
        some([{"z": n, "a": {"text": words[n], "when": datetime(2024, 1, 1, tzinfo=timezone.utc)}, "m": [True, None]} for n in range(ROWS)])
    ),
    "map": pa.array(some([[("k", n), ("b", None)] for n in range(ROWS)]), type=pa.map_(pa.string(), pa.int64())),
}
table = pa.table(arrays)
parquet_table = table.set_column(
    table.schema.get_field_index("view"), "view", table["view"].cast(pa.string())
)


def plain(value):
    """A value as JSON has it: times in milliseconds, bytes as numbers."""
    if value is None:
        return None
    if isinstance(value, pd.Timestamp):
        return value.value // 10**6
    if isinstance(value, datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return int(zoned.timestamp() * 1000 // 1)
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days * 86_400_000
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value


def document(value):
    """A list or record as JSON text, names sorted."""
    def default(value):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return None if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=default)


def values(name):
    column = table[name]
    if pa.types.is_timestamp(column.type):
        unit = {"ms": 1, "us": 10**3, "ns": 10**6}[column.type.unit]
        return [None if v is None else v // unit for v in column.cast(pa.int64()).to_pylist()]
    column = column.to_pylist()
    if name == "map":
        column = [None if v is None else dict(v) for v in column]
    if name in ("list", "record", "map"):
        return [document(v) for v in column]
    return [plain(v) for v in column]


cases = []


def case(file, format, **more):
    cases.append({"file": file, "format": format, **more})


ways = {
    "default": {},
    "plain": dict(use_dictionary=False, compression="none", row_group_size=170),
    "gzip_v2": dict(compression="gzip", data_page_version="2.0", row_group_size=300, data_page_size=512),
    "zstd_small": dict(compression="zstd", data_page_size=256, dictionary_pagesize_limit=512),
    "lz4_stats": dict(compression="lz4", write_page_index=True, data_page_size=512, row_group_size=999),
    "no_schema": dict(compression="snappy", store_schema=False),
    "delta": dict(
        use_dictionary=False,
        data_page_size=700,
        column_encoding={
            **{n: "DELTA_BINARY_PACKED" for n in ("int32", "int64", "ms", "us")},
            **{n: "DELTA_BYTE_ARRAY" for n in ("text", "view")},
            **{n: "DELTA_LENGTH_BYTE_ARRAY" for n in ("long_text", "binary")},
            **{n: "BYTE_STREAM_SPLIT" for n in ("single", "double")},
        },
    ),
    "delta_v2": dict(
        use_dictionary=False,
        data_page_version="2.0",
        data_page_size=700,
        column_encoding={"text": "DELTA_BYTE_ARRAY", "long_text": "DELTA_LENGTH_BYTE_ARRAY"},
    ),
}
for way, options in ways.items():
    pq.write_table(parquet_table, folder / f"{way}.parquet", **options)
    case(f"{way}.parquet", "parquet", groups=pq.ParquetFile(folder / f"{way}.parquet").num_row_groups)
pq.write_table(
    parquet_table.select(["ms"]), folder / "int96.parquet", use_deprecated_int96_timestamps=True
)
case("int96.parquet", "parquet", columns=["ms"])
feather.write_feather(table, folder / "lz4.feather", compression="lz4", chunksize=300)
case("lz4.feather", "arrow")
feather.write_feather(table, folder / "zstd.feather", compression="zstd")
case("zstd.feather", "arrow")
with ipc.new_stream(folder / "stream.arrows", table.schema) as stream:
    for batch in table.to_batches(max_chunksize=123):
        stream.write_batch(batch)
case("stream.arrows", "arrow")
with ipc.new_file(folder / "file.arrow", table.schema) as file:
    file.write_table(table, max_chunksize=400)
case("file.arrow", "arrow")

# the same, small and not compressed, to be damaged
small = folder / "small"
small.mkdir()
for way, options in ways.items():
    options = {**options, "compression": "none", "data_page_size": 64, "row_group_size": 25}
    pq.write_table(parquet_table.slice(0, 40), small / f"{way}.parquet", **options)
pq.write_table(parquet_table.slice(0, 40), small / "snappy.parquet", compression="snappy")
feather.write_feather(table.slice(0, 40), small / "plain.feather", compression="uncompressed")
feather.write_feather(table.slice(0, 40), small / "lz4.feather", compression="lz4")
with ipc.new_stream(small / "stream.arrows", table.schema) as stream:
    for batch in table.slice(0, 40).to_batches(max_chunksize=13):
        stream.write_batch(batch)

# short files that stand for much
text = pa.array(["x" * 4_000_000])
repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, dtype=np.int32)), text)
repeated = pa.table({"text": repeated, "row": pa.array(range(100_000))})
pq.write_table(repeated, folder / "repeated.parquet", compression="zstd")
feather.write_feather(repeated, folder / "repeated.feather", compression="zstd")
pq.write_table(pa.table({"text": ["x" * 100_000_000]}), folder / "one_text.parquet", compression="zstd")
feather.write_feather(pa.table({"text": ["x" * 100_000_000]}), folder / "one_text.feather", compression="zstd")
listed = pa.ListArray.from_arrays([0, 30_000_000], pa.array(np.zeros(30_000_000, dtype=np.int8)))
pq.write_table(pa.table({"list": listed}), folder / "one_list.parquet", compression="zstd")
nothing = pa.ListArray.from_arrays([0, 2_000_000_000], pa.nulls(2_000_000_000))
with ipc.new_stream(folder / "nothing.arrows", pa.schema({"list": nothing.type})) as stream:
    stream.write_batch(pa.record_batch({"list": nothing}))
pq.write_table(
    pa.table({"zeros": pa.array(np.zeros(20_000_000, dtype=np.int64))}), folder / "zeros.parquet", compression="zstd",
    row_group_size=20_000_000,
)

refused = pa.table({"n": [1], "span": pa.array([5], type=pa.duration("ms")), "clock": pa.array([5], type=pa.time32("s"))})
pq.write_table(refused, folder / "refused.parquet")
pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), folder / "twice.parquet")
pq.write_table(pa.table({"seconds": pa.array([5, None], type=pa.timestamp("s"))}), folder / "seconds.parquet")
pq.write_table(pa.table({"a": pa.array([], type=pa.int8())}), folder / "empty.parquet")
feather.write_feather(pa.table({"a": pa.array([], type=pa.int8())}), folder / "empty.feather")

# what pandas itself writes and reads
frame = pd.DataFrame(
    {
        "i8": np.arange(6, dtype=np.int8),
        "u16": np.arange(6, dtype=np.uint16),
        "i64": np.arange(6) * 10**12,
        "f32": np.array([0.5, np.nan, 2, 3, 4, 5], dtype=np.float32),
        "f64": [0.1, None, 2.5, 3, 4, 5],
        "flag": [True, False, True, False, True, True],
        "text": ["a", None, "c", "d", "é", ""],
        "category": pd.Categorical(["x", "y", None, "x", "x", "y"]),
        "nullable": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
        "when": pd.to_datetime(["2024-01-01T10:00:00.123"] * 5 + [None]),
        "zoned": pd.to_datetime(["2024-01-01T10:00:00"] * 6).tz_localize("Europe/Berlin"),
        "f16": np.arange(6, dtype=np.float16),
    }
)
frame.to_parquet(folder / "scoring.parquet")
frame.set_index("text").to_parquet(folder / "scoring_index.parquet")
frame.iloc[::2].to_parquet(folder / "scoring_sliced.parquet")
pa_holes = pa.table({"whole": pa.array([1, None, 3]), "flag": pa.array([True, None, False])})
pq.write_table(pa_holes, folder / "holes.parquet")

simple = pd.DataFrame(
    {
        "flag": [n % 2 == 0 for n in range(50)],
        "whole": range(50),
        "big": [2**63 + n for n in range(50)],
        "float": [None if n % 7 == 0 else n / 3 for n in range(50)],
        "text": [None if n % 11 == 0 else f'w "{n}",\n{n % 3}' for n in range(50)],
    }
)
simple.to_csv(folder / "simple.csv", index=False)
simple.to_csv(folder / "simple.tsv", index=False, sep="\t", quoting=2, lineterminator="\r\n")
simple.to_json(folder / "simple.jsonl", orient="records", lines=True, double_precision=15)
simple.to_parquet(folder / "simple.parquet", index=False)

json.dump(
    {"cases": cases, "values": {name: values(name) for name in arrays}, "types": {n: str(table[n].type) for n in arrays}},
    open(folder / "cases.json", "w"),
)
print(f"pyarrow {pa.__version__}, pandas {pd.__version__}: {len(cases)} files, {len(arrays)} columns")
