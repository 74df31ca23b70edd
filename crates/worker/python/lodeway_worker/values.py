"""Values of a call as numpy and pandas have them, and back. Nothing is rounded or widened on the way."""

import datetime
import json
import math
import struct

import numpy as np
import pandas as pd

_DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_DATATYPES = {dtype: name for name, dtype in _DTYPES.items()}
_NAME = "predictions"
# So much an array of texts of one width takes at most.
_MAX_TEXT_BYTES = 256 << 20


class BadInput(ValueError):
    """An input that the caller has to change."""


class Received:
    """A tensor as it arrived."""

    __slots__ = ("name", "datatype", "shape", "data", "nulls", "is_json", "is_keyed", "label")

    def __init__(
        self, name, datatype, shape, data, nulls, is_json=False, is_keyed=False, is_numbered=False
    ):
        self.name, self.datatype, self.shape, self.data, self.nulls = name, datatype, shape, data, nulls
        self.is_json, self.is_keyed = is_json, is_keyed
        # as a column of a table
        self.label = int(name) if is_numbered else name

    def array(self, binary=False):
        """The elements in their shape; texts as objects, `bytes` if `binary`, JSON texts as their values."""
        if self.datatype == "BYTES":
            array = np.empty(math.prod(self.shape), dtype=object)
            # one by one: numpy would look into lists
            for at, text in enumerate(self.texts(binary)):
                array[at] = text
            return array.reshape(self.shape)
        if self.datatype == "BF16":
            # numpy has no such type; the same values as float32
            bits = np.frombuffer(self.data, "<u2").astype("<u4") << 16
            return bits.view("<f4").reshape(self.shape)
        return np.frombuffer(self.data, _DTYPES[self.datatype]).reshape(self.shape)

    def texts(self, binary=False):
        """The elements of BYTES as a list, JSON texts as their values."""
        texts, at, data = [], 0, bytes(self.data)
        while at < len(data):
            (length,) = struct.unpack_from("<I", data, at)
            at += 4
            text = data[at : at + length]
            at += length
            if self.is_json:
                # the row of a null has no text
                text = json.loads(text) if text else None
            elif not binary:
                try:
                    text = text.decode()
                except UnicodeDecodeError as error:
                    raise BadInput(f"input `{self.name}` is not UTF-8: {error}") from error
            texts.append(text)
        return texts

    def column(self, binary=False):
        """The elements as a column of a frame, nulls as pandas has them."""
        if self.datatype == "BYTES":
            texts = self.texts(binary)
            if self.nulls is not None:
                texts = [None if null else text for text, null in zip(texts, self.nulls)]
            return texts
        array = self.array().reshape(-1)
        if self.nulls is None:
            return array
        if array.dtype.kind == "b":
            array = array.astype(object)
            array[self.nulls] = None
            return array
        # integers become float64, as they do when pandas reads them beside a null
        array = array.astype("<f8") if array.dtype.kind in "iu" else array.copy()
        array[self.nulls] = np.nan
        return array


def received(header, body):
    """The tensors of a frame."""
    tensors, at, view = [], 0, memoryview(body)
    for described in header.get("tensors", ()):
        length = described["bytes"]
        data = view[at : at + length]
        at += length + -length % 8
        nulls = None
        if described.get("nulls"):
            rows = described["shape"][0]
            nulls = np.frombuffer(view[at : at + rows], "?")
            at += rows + -rows % 8
        tensors.append(
            Received(
                described["name"],
                described["datatype"],
                tuple(described["shape"]),
                data,
                nulls,
                described.get("json", False),
                described.get("keyed", False),
                described.get("numbered", False),
            )
        )
    return tensors


def frame_of(tensors, schema):
    """A frame of the columns in `tensors`; `schema` says which columns are binary."""
    binary = _columns_of("binary", schema)
    labels = [tensor.label for tensor in tensors]
    if len(set(labels)) != len(labels):
        raise BadInput("two columns have the same name")
    times, texts = _columns_of("datetime", schema), _columns_of("string", schema)

    def column(tensor):
        if tensor.name in times:
            return _times(tensor)
        if tensor.name in texts and tensor.shape[0] == 0:
            # without a value a document does not show that it would be texts
            return np.empty(0, dtype=object)
        return tensor.column(tensor.name in binary)

    return pd.DataFrame({tensor.label: column(tensor) for tensor in tensors})


def _times(tensor):
    """A column of times; texts are ISO 8601. In nanoseconds, as MLflow's own scoring server has them."""
    column = tensor.column()
    if tensor.datatype != "BYTES":
        return column
    column = pd.Series(column, dtype=object)
    try:
        try:
            # pandas takes the first text for the form of all, and ISO 8601 has several
            times = pd.to_datetime(column, format="ISO8601")
        except ValueError:
            times = pd.to_datetime(column)
    except Exception as error:
        text = _first_that_is_no_time(column)
        raise BadInput(f"column `{tensor.name}`: {text!r} is no time; send ISO 8601, as 2024-01-31T12:00:00") from error
    if getattr(times.dtype, "kind", None) == "M" and getattr(times.dt, "unit", "ns") != "ns":
        times = times.dt.as_unit("ns")
    return times


def _first_that_is_no_time(texts):
    for text in texts:
        try:
            pd.to_datetime(text)
        except Exception:
            return text[:40]
    # each reads alone: they do not go together, such as with and without a zone
    return (next((text for text in texts if text), "") or "")[:40]


def input_of(tensors, schema):
    """What `predict` takes for named tensors: a frame where the signature has columns, else arrays."""
    if schema is not None and not schema.is_tensor_spec():
        return _frame_of_tensors(tensors, schema)
    specs = {}
    if schema is not None:
        specs = {spec.name: spec for spec in schema.inputs}
        if not schema.has_input_names() and len(tensors) == 1:
            return _array(tensors[0], schema.inputs[0])
    else:
        arrays = {tensor.name: _array_as_it_is(tensor) for tensor in tensors}
        return arrays if len(tensors) != 1 or tensors[0].is_keyed else arrays[tensors[0].name]
    return {tensor.name: _array(tensor, specs.get(tensor.name)) for tensor in tensors}


def _array_as_it_is(tensor):
    """The array of a tensor of which no signature says what it holds: BYTES are texts, or `bytes` if one is no text."""
    if tensor.datatype != "BYTES" or tensor.is_json:
        return tensor.array()
    array = tensor.array(binary=True)
    try:
        texts = [data.decode() for data in array.reshape(-1)]
    except UnicodeDecodeError:
        return array
    return _array_of_texts(texts).reshape(tensor.shape)


def _array_of_texts(texts):
    """Texts as numpy has them, each as wide as the longest; as objects where that would lose or waste much of them."""
    width = max(map(len, texts), default=0)
    # numpy takes zeros at the end for padding
    if 4 * width * len(texts) <= _MAX_TEXT_BYTES and not any(text.endswith("\0") for text in texts):
        return np.array(texts, dtype=f"<U{max(width, 1)}")
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def _array(tensor, spec):
    if tensor.datatype != "BYTES" or spec is None:
        return tensor.array()
    kind = spec.type.kind
    array = tensor.array(binary=kind == "S")
    return array.astype(kind) if kind in "US" else array


def _frame_of_tensors(tensors, schema):
    names = schema.input_names() if schema.has_input_names() else []
    if len(tensors) == 1 and len(tensors[0].shape) == 2 and tensors[0].name not in names:
        # one matrix for all columns, in the order of the signature
        array = tensors[0].array()
        if names and array.shape[1] != len(names):
            raise BadInput(f"input `{tensors[0].name}` has {array.shape[1]} columns; the model takes {len(names)}")
        return pd.DataFrame(array, columns=names or None)
    for tensor in tensors:
        if not (len(tensor.shape) == 1 or len(tensor.shape) == 2 and tensor.shape[1] == 1):
            raise BadInput(f"input `{tensor.name}` is {list(tensor.shape)}; a column takes [rows] or [rows, 1]")
        if tensor.shape[0] != tensors[0].shape[0]:
            raise BadInput(f"input `{tensor.name}` has {tensor.shape[0]} rows, the first one {tensors[0].shape[0]}")
    frame = frame_of(tensors, schema)
    if not names:
        frame.columns = range(len(tensors))
    return frame


def _columns_of(kind, schema):
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return frozenset()
    return frozenset(
        spec.name for spec in schema.inputs if getattr(spec.type, "name", None) == kind
    )


class Outputs:
    """What the signature says of answers, and how MLflow writes a value of one as JSON."""

    def __init__(self, schema, write):
        self._write = write
        self.columns = {}
        names = [spec.name for spec in schema.inputs] if schema is not None else []
        # as one answer without a name is called
        self.name = names[0] if len(names) == 1 and names[0] else _NAME
        self._json = frozenset()
        if schema is None or schema.is_tensor_spec():
            return
        if schema.has_input_names():
            self.columns = {spec.name: spec.type for spec in schema.inputs}
        if schema.has_input_names() or len(names) == 1:
            # types of one value have a name of their own, those of lists, objects and any value have none
            structured = [spec for spec in schema.inputs if getattr(spec.type, "name", None) is None]
            self._json = frozenset(spec.name or self.name for spec in structured)

    def is_json(self, name):
        """Whether metadata says of an output that each of its elements is a JSON text."""
        return name in self._json

    def text(self, value):
        """The JSON text of a value."""
        return json_text(self._write, value)


def answer_of(value, outputs, by_column=False):
    """An answer as (form, tensors, segments) if tensors or a frame hold it exactly; else None.

    Lists and objects are the JSON texts of their rows. With `by_column` records of the columns that `outputs` declares
    become these columns, without those that no record has; any other object is the answer to one row.
    """
    if hasattr(value, "toarray") and type(value).__module__.partition(".")[0] == "scipy":
        value = value.toarray()
    if isinstance(value, pd.DataFrame):
        return _frame_answer(value, outputs, by_column)
    if isinstance(value, pd.Series):
        # MLflow's JSON calls a nameless column 0
        name = value.name if isinstance(value.name, str) else str(value.name or 0)
        return _packed("frame", [_column(name, value, outputs, by_column)])
    if isinstance(value, dict):
        if value and all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in value.items()):
            packed = _packed("tensors", [_tensor(k, v, outputs) for k, v in value.items()])
            if packed is not None and len(value) == 1:
                # in a document it is an object, and the only tensor is otherwise the bare value
                packed[1][0]["keyed"] = True
            return packed
        if not by_column:
            return None
        return _records([value], outputs) or _packed("tensors", [_json_tensor(outputs.name, (1,), [value], outputs)])
    if isinstance(value, list):
        if by_column and (records := _records(value, outputs)):
            return records
        array = _array_of_list(value)
        if array is None and value and all(map(_is_nested, value)):
            return _packed("tensors", [_json_tensor(outputs.name, (len(value),), value, outputs)])
        value = array
    if by_column and _is_json_text(value, outputs):
        return _packed("tensors", [_json_tensor(outputs.name, (1,), [value], outputs)])
    if isinstance(value, (str, bool, int, float)):
        # one value, as a stream gives it piece by piece; whole numbers beyond 64 bits have no tensor
        value = np.asarray(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return _packed("tensors", [_tensor(outputs.name, np.asanyarray(value), outputs)])
    return None


def chunk_of(value, outputs):
    """One answer of a stream; an object is the JSON text of one row, whatever the signature says of whole answers."""
    if isinstance(value, dict) or _is_json_text(value, outputs):
        return _packed("tensors", [_json_tensor(outputs.name, (1,), [value], outputs)])
    return answer_of(value, outputs)


def _is_json_text(value, outputs):
    """Whether a text is one of an output whose elements are JSON texts."""
    return isinstance(value, str) and outputs.is_json(outputs.name)


def _is_nested(value):
    return isinstance(value, (dict, list, tuple, np.ndarray))


def _json_tensor(name, shape, items, outputs, nulls=None):
    """Items as BYTES, each its JSON text."""
    parts = bytearray()
    for at, item in enumerate(items):
        text = b"null" if nulls is not None and nulls[at] else outputs.text(item)
        parts += struct.pack("<I", len(text))
        parts += text
    return name, "BYTES", shape, parts, nulls if nulls is not None and any(nulls) else None, True


def _records(values, outputs):
    """Records as the columns that are declared; None unless they are of these, with values of the types declared.

    What the signature requires may be missing: chat models of MLflow leave out what has no value, whatever the
    signature that it writes for them says.
    """
    columns = outputs.columns
    if not columns or not values or not all(isinstance(value, dict) for value in values):
        return None
    if not all(value.keys() <= columns.keys() for value in values):
        return None
    made = []
    for name, kind in columns.items():
        cells = [value.get(name) for value in values]
        if any(cell is not None for cell in cells):
            made.append(_declared_column(name, kind, cells, outputs))
    return _packed("frame", made)


# What a cell is in Python, and its element, by the name of the declared type.
_SCALARS = {
    "boolean": ((bool, np.bool_), "?"),
    "integer": ((int, np.integer), "<i4"),
    "long": ((int, np.integer), "<i8"),
    "float": ((int, float, np.integer, np.floating), "<f4"),
    "double": ((int, float, np.integer, np.floating), "<f8"),
}


def _declared_column(name, kind, cells, outputs):
    nulls = np.array([cell is None or cell is pd.NaT for cell in cells])
    word = getattr(kind, "name", None)
    if word == "datetime":
        return _moments(name, cells, nulls)
    if word in ("string", "binary"):
        data = _packed_texts(cells, nulls)
        return data and (name, "BYTES", (len(cells),), data[0], nulls if nulls.any() else None)
    if word not in _SCALARS:
        return _json_tensor(name, (len(cells),), cells, outputs, nulls)
    types, dtype = _SCALARS[word]
    if not all(
        cell is None or isinstance(cell, types) and (word == "boolean" or not isinstance(cell, bool)) for cell in cells
    ):
        return None
    missing = math.nan if word in ("float", "double") else 0
    try:
        array = np.array([missing if cell is None else cell for cell in cells], dtype=dtype)
    except OverflowError:
        return None
    return (*_tensor(name, array, outputs)[:4], nulls if nulls.any() else None)


def _packed(form, tensors):
    described, segments = [], []
    for tensor in tensors:
        if tensor is None:
            return None
        name, datatype, shape, data, nulls, *is_json = tensor
        entry = {"name": name, "datatype": datatype, "shape": list(shape), "bytes": len(data)}
        segments.append(data)
        if nulls is not None:
            entry["nulls"] = True
            segments.append(nulls.tobytes())
        if is_json:
            entry["json"] = True
        described.append(entry)
    if not described:
        return None
    return form, described, segments


def _tensor(name, array, outputs):
    if isinstance(array, np.ma.MaskedArray):
        array = _unmasked(array)
        if array is None:
            return None
    if array.dtype.kind in "OUST":
        items = array.reshape(-1).tolist()
        if items and (all(map(_is_nested, items)) or outputs.is_json(name) and _are_texts(items)):
            return _json_tensor(name, array.shape, items, outputs)
        data = _packed_texts(items)
        return data and (name, "BYTES", array.shape, data[0], None)
    datatype = _DATATYPES.get(array.dtype.newbyteorder("<"))
    if datatype is None:
        return None
    data = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return name, datatype, array.shape, memoryview(data.reshape(-1)).cast("B") if data.size else b"", None


def _unmasked(array):
    """A masked array as a plain one, NaN where a float is masked; None if a value of another type is."""
    if not np.ma.is_masked(array):
        return array.data
    return array.filled(np.nan) if array.dtype.kind == "f" else None


def _packed_texts(texts, nulls=None):
    """Elements as BYTES, in a tuple; None unless all are `str` or all are `bytes`."""
    there = [text for at, text in enumerate(texts) if nulls is None or not nulls[at]]
    if not (_are_texts(there) or all(isinstance(text, bytes) for text in there)):
        return None
    parts = bytearray()
    for at, text in enumerate(texts):
        if nulls is not None and nulls[at]:
            text = b""
        elif isinstance(text, str):
            try:
                text = text.encode()
            except UnicodeEncodeError:
                return None
        parts += struct.pack("<I", len(text))
        parts += text
    return (parts,)


def _are_texts(items):
    return all(isinstance(item, str) for item in items)


def _frame_answer(frame, outputs, by_column):
    names = [str(name) if type(name) is int else name for name in frame.columns]
    if not names or len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        return None
    columns = [_column(name, frame.iloc[:, at], outputs, by_column) for at, name in enumerate(names)]
    return _packed("frame", columns)


def _column(name, series, outputs, by_column):
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return _tensor(name, series.to_numpy(), outputs)
    nulls = series.isna().to_numpy(dtype=bool)
    if not isinstance(dtype, np.dtype) and getattr(dtype, "numpy_dtype", None) is not None:
        if dtype.numpy_dtype.kind in "biuf":
            # a boolean takes no number
            there = series.fillna(False if dtype.numpy_dtype.kind == "b" else 0) if nulls.any() else series
            values = there.to_numpy(dtype=dtype.numpy_dtype)
            tensor = _tensor(name, values, outputs)
            return tensor and (*tensor[:4], nulls if nulls.any() else None)
    if dtype.kind == "M":
        # a moment that is missing has a text in MLflow's JSON; whoever takes columns is told that it is missing
        is_told = by_column or isinstance(dtype, pd.ArrowDtype)
        return _moments(name, series.tolist(), nulls if is_told else np.zeros(len(nulls), dtype=bool))
    if dtype.kind in "OUS":
        cells = series.tolist()
        there = [cell for cell, null in zip(cells, nulls) if not null]
        if there and (all(map(_is_nested, there)) or outputs.is_json(name) and _are_texts(there)):
            return _json_tensor(name, (len(cells),), cells, outputs, nulls)
        if by_column and there and all(isinstance(cell, datetime.date) for cell in there):
            return _moments(name, cells, nulls)
        if dtype != object and not by_column and not _are_texts(there):
            return None
        data = _packed_texts(cells, nulls)
        return data and (name, "BYTES", (len(series),), data[0], nulls if nulls.any() else None)
    return None


def _moments(name, cells, nulls):
    """Dates and times as the ISO 8601 texts that MLflow writes; None if a cell is something else."""
    if not all(null or isinstance(cell, (str, datetime.date)) for cell, null in zip(cells, nulls)):
        return None
    texts = [cell if null or isinstance(cell, str) else cell.isoformat() for cell, null in zip(cells, nulls)]
    data = _packed_texts(texts, nulls)
    return data and (name, "BYTES", (len(cells),), data[0], nulls if nulls.any() else None)


def _array_of_list(values):
    """A list as an array of the same values, if it is a regular nest of one kind of scalar; else None."""
    shape, flat = [len(values)], values
    while flat and type(flat[0]) is list:
        width = len(flat[0])
        if not all(type(row) is list and len(row) == width for row in flat):
            return None
        shape.append(width)
        flat = [item for row in flat for item in row]
    if flat and _are_texts(flat):
        # of a class of its own as well, such as what parsers of LangChain give
        array = np.empty(len(flat), dtype=object)
        array[:] = flat
        return array.reshape(shape)
    kinds = set(map(type, flat))
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind in (bool, float):
        array = np.array(flat)
    elif kind is int and all(-(1 << 63) <= item < 1 << 63 for item in flat):
        array = np.array(flat, dtype="<i8")
    elif issubclass(kind, (np.bool_, np.number)):
        array = np.array(flat)
    else:
        return None
    return array.reshape(shape)


def json_text(write, value):
    """What MLflow's writer `write` makes of `value`, as bytes."""
    import io

    text = io.StringIO()
    write(value, text)
    return strict_json(text.getvalue())


def strict_json(text):
    """A JSON text of Python as bytes, with null for NaN and the infinities, for which JSON has no words."""
    if "NaN" in text or "Infinity" in text:
        found = []
        value = json.loads(text, parse_constant=found.append)
        if found:
            text = json.dumps(value)
    return text.encode()


def plain(value):
    """`value` if JSON holds it, else its text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value
