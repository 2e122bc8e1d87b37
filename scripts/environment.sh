#!/bin/sh
# Make .venv and install Stem into it: "demo" (core and the SQLite plugin), "dev" (that, and what tests and checks
# need) or "bench" (what Stem is measured beside, on top of that). Needs Python 3.11 and either uv, or the venv module,
# or pip 22.3. Called by the Makefile, which looks at the stamps; running it again is harmless.
set -eu

kind=$1
venv=.venv
constraints=${CONSTRAINTS-constraints.txt}

fail() {
    printf 'make: %s\n' "$1" >&2
    printf '  hint: %s\n' "$2" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer on PATH" "install one (Debian 12: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3"
}

# Debian's python3 has no ensurepip unless python3-venv is installed; its pip can install into a venv without pip.
outer_pip_will_do() {
    "$1" -c 'import sys, pip; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (22, 3))' 2>/dev/null
}

make_venv() {
    python=$(find_python)
    if command -v uv >/dev/null; then
        uv venv --quiet --seed --python "$python" "$venv"
    elif "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif "$python" -c 'import venv' 2>/dev/null && outer_pip_will_do "$python"; then
        "$python" -m venv --without-pip "$venv"
    else
        fail "$python can make no virtual environment: it has neither ensurepip nor pip 22.3" \
            "install python3-venv (Debian, Ubuntu: apt-get install python3-venv), or uv"
    fi
}

install() {
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$venv/bin/python" "$@"
    elif "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"
    else
        "$(find_python)" -m pip --disable-pip-version-check --python "$venv/bin/python" install --quiet "$@"
    fi
}

if [ -d "$venv" ] && ! new_enough "$venv/bin/python"; then
    echo "$venv has no working Python 3.11 or newer (any more): making it anew"
    rm -rf "$venv"
fi
[ -d "$venv" ] || { echo "making $venv"; make_venv; }

# The stamp that holds the greater set serves for the smaller one too.
if [ "$kind" = demo ] && [ -e "$venv/.stem-dev" ]; then
    kind=dev
fi

case $kind in
    demo) set -- -e . ; what="core and the SQLite plugin" ;;
    # The example of a plugin from outside brings its client library, and the server for its tests.
    dev) set -- -e '.[dev]' -e 'examples/plugin_nats[test]' ; what="core, the plugins and the test tools" ;;
    bench) set -- -r tests/benchmarks/requirements.txt ; what="what Stem is measured beside" ;;
    *) fail "unknown kind of environment: $kind" "say demo, dev or bench" ;;
esac
if [ "$kind" = bench ]; then
    # Each in an environment of its own: no two of them agree on a version of redis-py.
    for list in tests/benchmarks/peers/*.txt; do
        venv=.venv/peers/$(basename "$list" .txt)
        echo "installing $list into $venv"
        [ -d "$venv" ] || make_venv
        install -r "$list"
    done
    venv=.venv
fi
for project in plugins/*/pyproject.toml; do
    [ -e "$project" ] || continue
    case $kind:$project in
        dev:* | demo:plugins/stem_sqlite/*) set -- "$@" -e "${project%/pyproject.toml}" ;;
    esac
done
[ -z "$constraints" ] || set -- -c "$constraints" "$@"

echo "installing $what into $venv"
install "$@"
case $kind in
    bench) touch "$venv/.stem-bench" ;;
    dev) touch "$venv/.stem-demo" "$venv/.stem-dev" ;;
    demo) touch "$venv/.stem-demo" ;;
esac
