"""Print the lowest version of each dependency that the installed package allows, as requirements."""

from importlib.metadata import requires

for requirement in requires("mpesa-stk-client") or ():
    needed, _, extra = requirement.partition(";")
    if not extra or any(
        f"extra == '{name}'" in extra.replace('"', "'")
        for name in ("async", "sql", "sql-async", "redis")
    ):
        print(needed.strip().replace(">=", "=="))
