#!/usr/bin/env bash
# Makes the Python environment that the demo, the tests and the benchmarks run the stock SDK in.
#
#   tools/venv.sh [FOLDER]        (default .venv at the root of the repository)
#
# It does nothing when the folder was made from the same tools/requirements.txt by the same Python. PYTHON names the
# interpreter to use (default python3); packages come from wherever pip is configured to take them.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
venv=${1:-$root/.venv}
python=${PYTHON:-python3}
requirements=$root/tools/requirements.txt

fail() {
    echo "venv: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "$python is not there. Install Python 3.10 or newer, or name it: PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$python is $("$python" -V 2>&1), and the SDK needs 3.10 or newer. Name another: PYTHON=/path/to/python3"

# The stamp is written last, so that an interrupted install is done again.
want=$("$python" -c 'import sys; print(sys.version, sys.base_prefix)')$(cat "$requirements")
stamp=$venv/.stamp
fresh() { [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; }
fresh && exit 0

# One at a time: several targets of make, or several checkouts' tests, may come here together.
if command -v flock >/dev/null; then
    exec 9<"$requirements"
    flock 9
    fresh && exit 0
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "venv: installing python3-venv"
        apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv >/dev/null
    else
        fail "$python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"
    fi
fi

echo "venv: making $venv with $("$python" -V) (a minute or two, once)"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements" ||
    fail "pip could not install tools/requirements.txt; its message is above"
printf '%s' "$want" >"$stamp"
echo "venv: ready"
