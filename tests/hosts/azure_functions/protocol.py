"""The protobuf messages of the worker protocol and of the Settlement service, built at run time.

Only the fields that are used, with the numbers and types of FunctionRpc.proto and settlement.proto.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SCALARS: Final = {"string": 9, "bytes": 12, "int32": 5, "int64": 3, "sint64": 18, "bool": 8}
_SCALARS_TOO: Final = {"double": 1}
_PACKAGE: Final = "queue_runtime_tests"

# "name number type", "*" before the type for repeated, "%" for a map of strings to it.
_WORKER: Final[dict[str, tuple[str, ...]]] = {
    "CollectionBytes": ("bytes 1 *bytes",),
    "CollectionString": ("string 1 *string",),
    "CollectionDouble": ("double 1 *double",),
    "CollectionSInt64": ("sint64 1 *sint64",),
    "ModelBindingData": (
        "version 1 string",
        "source 2 string",
        "content_type 3 string",
        "content 4 bytes",
    ),
    "CollectionModelBindingData": ("model_binding_data 1 *ModelBindingData",),
    "TypedData": (
        "string 1 string data",
        "json 2 string data",
        "bytes 3 bytes data",
        "int 6 sint64 data",
        "double 7 double data",
        "collection_bytes 8 CollectionBytes data",
        "collection_string 9 CollectionString data",
        "collection_double 10 CollectionDouble data",
        "collection_sint64 11 CollectionSInt64 data",
        "model_binding_data 12 ModelBindingData data",
        "collection_model_binding_data 13 CollectionModelBindingData data",
    ),
    "ParameterBinding": ("name 1 string", "data 2 TypedData rpc_data"),
    "RpcException": ("source 3 string", "stack_trace 1 string", "message 2 string"),
    "StatusResult": ("status 4 StatusResult.Status", "exception 2 RpcException"),
    "RpcTraceContext": ("trace_parent 1 string", "trace_state 2 string", "attributes 3 %string"),
    "RetryContext": ("retry_count 1 int32", "max_retry_count 2 int32", "exception 3 RpcException"),
    "InvocationRequest": (
        "invocation_id 1 string",
        "function_id 2 string",
        "input_data 3 *ParameterBinding",
        "trigger_metadata 4 %TypedData",
        "trace_context 5 RpcTraceContext",
        "retry_context 6 RetryContext",
    ),
    "InvocationResponse": (
        "invocation_id 1 string",
        "output_data 2 *ParameterBinding",
        "result 3 StatusResult",
        "return_value 4 TypedData",
    ),
    "WorkerMetadata": (
        "runtime_name 1 string",
        "runtime_version 2 string",
        "worker_version 3 string",
        "worker_bitness 4 string",
        "custom_properties 5 %string",
    ),
    "WorkerInitRequest": ("capabilities 2 %string", "function_app_directory 5 string"),
    "WorkerInitResponse": (
        "capabilities 2 %string",
        "result 3 StatusResult",
        "worker_metadata 4 WorkerMetadata",
    ),
    "BindingInfo": (
        "type 2 string",
        "direction 3 BindingInfo.Direction",
        "data_type 4 BindingInfo.DataType",
    ),
    "RpcRetryOptions": ("max_retry_count 2 int32",),
    "RpcFunctionMetadata": (
        "name 4 string",
        "directory 1 string",
        "script_file 2 string",
        "entry_point 3 string",
        "bindings 6 %BindingInfo",
        "is_proxy 7 bool",
        "language 9 string",
        "raw_bindings 10 *string",
        "function_id 13 string",
        "managed_dependency_enabled 14 bool",
        "retry_options 15 RpcRetryOptions",
        "properties 16 %string",
    ),
    "FunctionMetadataResponse": (
        "function_metadata_results 1 *RpcFunctionMetadata",
        "result 2 StatusResult",
        "use_default_metadata_indexing 3 bool",
    ),
    "FunctionLoadRequest": ("function_id 1 string",),
    "FunctionLoadResponse": ("function_id 1 string", "result 2 StatusResult"),
    "StreamingMessage": (
        "worker_init_request 17 WorkerInitRequest content",
        "function_load_request 8 FunctionLoadRequest content",
        "invocation_request 4 InvocationRequest content",
    ),
}
_ENUMS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "StatusResult": ("Status", ("Failure", "Success", "Cancelled")),
    "BindingInfo": ("Direction", ("in", "out", "inout")),
}
_DATA_TYPES: Final = ("undefined", "string", "binary", "stream")
_SETTLEMENT: Final[dict[str, tuple[str, ...]]] = {
    "StringValue": ("value 1 string",),
    "Complete": ("locktoken 1 string",),
    "Abandon": ("locktoken 1 string", "properties_to_modify 2 bytes"),
    "Deadletter": (
        "locktoken 1 string",
        "properties_to_modify 2 bytes",
        "deadletter_reason 3 StringValue",
        "deadletter_error_description 4 StringValue",
    ),
    "RenewMessageLock": ("locktoken 1 string",),
    "RenewSessionLock": ("session_id 1 string",),
    "ReleaseSession": ("session_id 1 string",),
}


def _add_field(message: Any, scope: str, text: str) -> None:
    name, number, kind, *oneof = text.split()
    field = message.field.add(name=name, number=int(number), label=1)
    if kind[0] in "*%":
        field.label = 3
    if kind[0] == "%":
        kind = _map_entry(message, scope, name, kind[1:])
    kind = kind.lstrip("*")
    scalar = _SCALARS.get(kind) or _SCALARS_TOO.get(kind)
    if scalar:
        field.type = scalar
    else:
        field.type = 14 if kind.rpartition(".")[2] in ("Status", "Direction", "DataType") else 11
        field.type_name = f".{scope}.{kind}"
    if oneof:
        if not message.oneof_decl:
            message.oneof_decl.add(name=oneof[0])
        field.oneof_index = 0


def _map_entry(message: Any, scope: str, name: str, value: str) -> str:
    entry_name = "".join(word.title() for word in name.split("_")) + "Entry"
    entry = message.nested_type.add(name=entry_name)
    entry.options.map_entry = True
    _add_field(entry, scope, "key 1 string")
    _add_field(entry, scope, f"value 2 {value}")
    return f"{message.name}.{entry_name}"


def _build(name: str, messages: dict[str, tuple[str, ...]]) -> Any:
    scope = f"{_PACKAGE}.{name}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{scope}.proto", package=scope, syntax="proto3")
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        if message_name in _ENUMS:
            enum_name, values = _ENUMS[message_name]
            _add_enum(message, enum_name, values)
        if message_name == "BindingInfo":
            _add_enum(message, "DataType", _DATA_TYPES)
        for text in fields:
            _add_field(message, scope, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return SimpleNamespace(
        **{
            each: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{scope}.{each}"))
            for each in messages
        }
    )


def _add_enum(message: Any, name: str, values: tuple[str, ...]) -> None:
    enum = message.enum_type.add(name=name)
    for number, value in enumerate(values):
        enum.value.add(name=value, number=number)


worker: Final[Any] = _build("worker", _WORKER)
settlement: Final[Any] = _build("settlement", _SETTLEMENT)
