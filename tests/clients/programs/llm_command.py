"""The `llm` command, with the model named in its file of further OpenAI models."""

import os
import subprocess
import sys
from pathlib import Path

from told import KEY, MODEL, PROMPT, URL, tell

FOLDER = Path(os.environ["LLM_USER_PATH"])
MODEL_OF = """- model_id: {name}
  model_name: {name}
  api_base: {url}
  api_key_name: tally
"""
MODELS = "".join(MODEL_OF.format(name=name, url=URL) for name in (MODEL, "gpt-99"))


def ask(model, *options):
    (FOLDER / "extra-openai-models.yaml").write_text(MODELS)
    program = Path(sys.executable).with_name("llm")
    command = [program, "-m", model, "--key", KEY, "--no-log", *options, PROMPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.removesuffix("\n")


tell(lambda: ask(MODEL, "--no-stream"), lambda: ask(MODEL), lambda: ask("gpt-99"))
