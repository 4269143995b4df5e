"""The simulated command line tools: one module a tool, each with `async def run(call: Call) -> int`."""
