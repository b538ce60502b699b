"""A GGUF model with output embeddings of its own, which an adapter of the head needs."""

from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write

INPUT, OUTPUT = "token_embd.weight", "output.weight"


def read_tied_gguf(path: Path) -> GGUFReader:
    """Open a GGUF model whose output embeddings are its input embeddings; its tensors are read when they are used.

    Raises:
        InputError: If the file is no GGUF model, or has output embeddings of its own.
    """
    try:
        reader = GGUFReader(path)
        names = {tensor.name for tensor in reader.tensors}
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path}: not a whole GGUF file ({' '.join(str(error).split())})") from error
    if INPUT not in names or OUTPUT in names:
        raise InputError(f"{path}: a model without {OUTPUT} expected; one that has it takes adapters as it is")
    return reader


def copy_with_output(reader: GGUFReader, target: Path) -> None:
    """Copy a GGUF model with tied embeddings, and add ``output.weight``, a copy of ``token_embd.weight``.

    Without this tensor llama.cpp refuses an adapter of the head; with it the model computes what it did.
    """
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    copies = [*tensors.items(), (OUTPUT, tensors[INPUT])]
    with atomic_write(target) as temporary:
        writer = GGUFWriter(temporary, reader.fields["general.architecture"].contents())
        for field in reader.fields.values():
            if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                subtype = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
                writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=subtype)
        for name, tensor in copies:
            data = tensor.data
            writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_ti_data_to_file):
            write()
        for _, tensor in copies:
            writer.write_tensor_data(tensor.data)
        writer.close()
