"""The application: `flask run`, `flask …` and `gunicorn app:app` start here."""

import sys

# Read by any Python, so without anything that an old one does not know.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("TMT needs Python 3.11 or newer; this is " + sys.version.split()[0])

from tmt.factory import check_start, load_app

if __name__ == "__main__":
    check_start()
else:
    app = load_app()
