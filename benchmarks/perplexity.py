"""How well a model foretells a text of ours in each precision: what 8-bit arithmetic costs in quality.

python -m benchmarks.perplexity [--precision float32 int8 ...]
"""

import argparse
from pathlib import Path

import torch

from inference.engine.checkpoint import read_checkpoint
from inference.engine.loading import load_language_model
from inference.engine.precision import Precision
from inference.engine.text import load_tokenizer

TEXT = Path(__file__).parent / "quality.txt"
ROWS = 32  # tokens whose logits are held at once: a row is a megabyte


def main() -> None:
    """Print the perplexity of each precision."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path.home() / ".cache/tally/models/gemma-3-270m")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16", "int8"])
    arguments = parser.parse_args()
    for precision in arguments.precision:
        print(f"{precision:10} {perplexity(arguments.model, precision):.3f}")


@torch.no_grad()
def perplexity(folder: Path, precision: Precision, max_tokens: int = 2000) -> float:
    """Of the first `max_tokens` of the text, read in one piece after the model's first token, such as <bos>.

    Lower is better; 1 would be certainty.
    """
    checkpoint = read_checkpoint(folder)
    tokenizer, _known = load_tokenizer(checkpoint)
    first = tokenizer.token_to_id(checkpoint.special_tokens.get("bos_token", ""))
    text = tokenizer.encode(TEXT.read_text(), add_special_tokens=False).ids
    tokens = [*([] if first is None else [first]), *text][:max_tokens]
    model = load_language_model(folder, precision)
    ids = torch.tensor(tokens, device=model.device)
    hidden = model.model(input_ids=ids.unsqueeze(0)).last_hidden_state[0]
    surprise = 0.0
    for rows, wanted in zip(hidden[:-1].split(ROWS), ids[1:].split(ROWS), strict=True):
        surprise += torch.nn.functional.cross_entropy(model.lm_head(rows).float(), wanted, reduction="sum").item()
    return float(torch.tensor(surprise / (len(tokens) - 1)).exp())


if __name__ == "__main__":
    main()
