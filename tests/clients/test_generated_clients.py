"""Clients that are generated from our documentation compile, and read a wallet of 3,000 credits to the microcredit."""

import json
from pathlib import Path

import pytest

from tests.clients.installing import install, run
from tests.support.cast import CREDIT, fund

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

PYTHON = """
import sys
from tally_client import AuthenticatedClient
from tally_client.api.credits_ import wallet_retrieve

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], raise_on_unexpected_status=True)
print(wallet_retrieve.sync(client=client).balance_microcredits)
"""
TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { components, paths } from "./tally.ts";

const [baseUrl, key] = process.argv.slice(2);
const tally = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
const { data, error } = await tally.GET("/api/v1/wallet");
if (!data) throw new Error(JSON.stringify(error));
const wallet: components["schemas"]["WalletOut"] = data;
const balance: number = wallet.balance_microcredits;
console.log(balance);
"""


@pytest.fixture
def schema(client, db, tmp_path):
    """The documentation, in a file."""
    document = client.get("/api/v1/schema/").json()
    file: Path = tmp_path / "tally.json"
    file.write_text(json.dumps(document))
    return file


@pytest.fixture
def wallet(server, alice, key_of):
    """Where it is and a key for it; it has 3,000 credits, more than 32 bits of microcredits."""
    fund(alice, 2900 * CREDIT)
    return server.url, key_of(alice)


def test_a_typed_client_for_python(schema, wallet, tmp_path):
    folder = install("openapi_python_client", "openapi-python-client==0.29.1")
    generated = tmp_path / "client"
    options = ["generate", "--path", str(schema), "--output-path", str(generated), "--meta", "none", "--overwrite"]
    config = tmp_path / "config.yml"
    config.write_text("package_name_override: tally_client\n")
    told = run([str(folder / "bin" / "openapi-python-client"), *options, "--config", str(config)], cwd=tmp_path)
    assert "unable to parse" not in told.lower(), told
    (tmp_path / "tally_client").symlink_to(generated)
    run([str(folder / "bin" / "python"), "-m", "compileall", "-q", str(generated)])
    balance = run([str(folder / "bin" / "python"), "-c", PYTHON, *wallet], cwd=tmp_path)
    assert int(balance) == 3000 * CREDIT


def test_a_typed_client_for_typescript(schema, wallet):
    packages = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@24")
    folder = install("openapi_typescript", *packages, is_node=True)
    node, modules = str(folder / "bin" / "node"), folder / "node_modules"
    (folder / "package.json").write_text('{"type": "module"}')
    run([node, str(modules / "openapi-typescript" / "bin" / "cli.js"), str(schema), "-o", str(folder / "tally.ts")])
    (folder / "wallet.ts").write_text(TYPESCRIPT)
    strict = ["--strict", "--noEmit", "--module", "nodenext", "--allowImportingTsExtensions", "--target", "es2023"]
    run([node, str(modules / "typescript" / "bin" / "tsc"), *strict, "wallet.ts"], cwd=folder)
    assert int(run([node, "wallet.ts", *wallet], cwd=folder)) == 3000 * CREDIT
