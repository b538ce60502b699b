"""A GGUF model as the base of adapters of its head: it is the model of a steer and has output embeddings of its own."""

from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, GGUFValueType, GGUFWriter, ReaderTensor
from gguf.quants import dequantize
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.export.head_adapter import gguf_architecture
from lmsteer.models.language_model import LanguageModel
from lmsteer.storage.atomic_files import atomic_write

INPUT, OUTPUT = "token_embd.weight", "output.weight"
COMPARED_ROWS = 64
LEAST_COSINE = 0.9
"""Of the output embeddings of a file with those of the model; two to three bits a weight still reach .95."""


def read_gguf(path: Path) -> GGUFReader:
    """Open a GGUF model; its tensors are read when they are used.

    Raises:
        InputError: If the file is no GGUF model, or one of the parts of a model.
    """
    try:
        reader = GGUFReader(path)
        names = {tensor.name for tensor in reader.tensors}
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path}: not a whole GGUF file ({' '.join(str(error).split())})") from error
    split = reader.fields.get("split.count")
    if split is not None and split.contents() > 1:
        raise InputError(f"{path}: one of {split.contents()} parts; llama-gguf-split --merge makes one file of them")
    if INPUT not in names:
        raise InputError(f"{path}: a GGUF file without {INPUT}; that of a language model expected")
    return reader


def context_length(reader: GGUFReader) -> int:
    """Return the number of tokens for which a model was trained."""
    architecture = reader.fields["general.architecture"].contents()
    return int(reader.fields[f"{architecture}.context_length"].contents())


def is_tied(reader: GGUFReader) -> bool:
    """Return whether a model has no output embeddings of its own, so that llama.cpp refuses an adapter of them."""
    return all(tensor.name != OUTPUT for tensor in reader.tensors)


def read_tied_gguf(path: Path) -> GGUFReader:
    """Open a GGUF model whose output embeddings are its input embeddings.

    Raises:
        InputError: As ``read_gguf``, or if the file has output embeddings of its own.
    """
    reader = read_gguf(path)
    if not is_tied(reader):
        raise InputError(f"{path}: a model without {OUTPUT} expected; one that has it takes adapters as it is")
    return reader


def check_same_model(reader: GGUFReader, path: Path, model: LanguageModel) -> None:
    """Refuse a GGUF file of another model: another architecture or shape, or other output embeddings.

    Rows of the embeddings are compared by their cosine, as the file may be quantized; so a fine-tuned sibling that
    hardly changed them is not told apart.

    Raises:
        InputError: Naming what differs.
    """
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    tensor = tensors.get(OUTPUT, tensors[INPUT])
    width, rows = (int(size) for size in tensor.shape)
    architecture = reader.fields["general.architecture"].contents()
    expected = (gguf_architecture(model), model.width)
    if (architecture, width) != expected or rows < model.head.vocabulary:
        raise InputError(
            f"{path}: {architecture} of width {width} with {rows} words, but the model {model.name} is "
            f"{expected[0]} of width {expected[1]} with {model.head.vocabulary}"
        )
    index = torch.linspace(0, model.head.vocabulary - 1, min(COMPARED_ROWS, model.head.vocabulary)).long()
    expected_rows = model.head.weight[index.to(model.head.weight.device)].float().cpu().flatten()
    cosine = torch.cosine_similarity(expected_rows, embedding_rows(tensor, index, path).flatten(), dim=0).item()
    if not cosine >= LEAST_COSINE:
        raise InputError(
            f"{path}: its output embeddings are not those of the model {model.name} (cosine {cosine:.2f}); a GGUF file "
            "of that model expected"
        )


def embedding_rows(tensor: ReaderTensor, index: Tensor, path: Path) -> Tensor:
    """Return rows of a matrix of a GGUF file as float32.

    Raises:
        InputError: If gguf-py cannot read its type.
    """
    try:
        rows = dequantize(tensor.data[index.numpy()], tensor.tensor_type)
    except NotImplementedError as error:
        kind = tensor.tensor_type.name
        raise InputError(
            f"{path}: {tensor.name} is {kind}, which gguf-py cannot read; another type expected"
        ) from error
    return torch.from_numpy(rows.astype(np.float32))


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
