"""The code of the monitor and the creator: contract, model, events, rules and adapters."""
