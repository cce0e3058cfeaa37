"""The form of files: whether what one holds fits a JSON schema."""

from collections.abc import Callable, Mapping

import fastjsonschema


def checker(schema: Mapping) -> Callable[[object], str]:
    """``misfit(content)``: what does not fit the schema, in a few words; "" if all does."""
    validate = fastjsonschema.compile(dict(schema))

    def misfit(content) -> str:
        try:
            validate(content)
        except fastjsonschema.JsonSchemaValueException as error:
            where = error.message.removeprefix("data.")
            return where if where != error.message else error.message.replace("data", "the file", 1)
        return ""

    return misfit
