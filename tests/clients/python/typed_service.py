"""Calls of typed services with nothing but what reflection says of them."""

from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def caller(channel):
    """A function of endpoint, method and message as JSON; it gives the answer as JSON, or all answers of a stream."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def told(message):
        told = json_format.MessageToDict(message, preserving_proto_field_name=True)
        assert told.pop("prediction_id") and told.pop("model_version") == "1"
        return told

    def call(endpoint, method, message):
        name = f"lodeway.endpoints.{endpoint}.{endpoint.capitalize()}Service"
        found = pool.FindServiceByName(name).methods_by_name[method]
        answer = message_factory.GetMessageClass(found.output_type)
        request = json_format.ParseDict(message, message_factory.GetMessageClass(found.input_type)())
        made = channel.unary_stream if method == "PredictStream" else channel.unary_unary
        send = made(
            f"/{name}/{method}",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        answered = send(request)
        return map(told, answered) if method == "PredictStream" else told(answered)

    return call
