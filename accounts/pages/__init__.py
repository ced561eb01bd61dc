"""The pages of accounts, and what becomes of pages whose log-in has ended."""
