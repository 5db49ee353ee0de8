#!/usr/bin/env bash
# Sets up, builds and runs all tests. See --help.

usage() {
  cat <<'END'
usage: scripts/test.sh [--preset NAME] [-- DOCTEST_ARGUMENT...]

Installs what is missing (apt, as root or by sudo), builds build/NAME and runs all tests: the C++ ones,
then the Python ones, which load the files that onnxtool wrote in ONNX Runtime. The last line is
"N passed, N failed, N skipped". Asks nothing; running it again builds only what has changed.

  --preset NAME   release (default), debug, asan or tsan. The Python tests judge files, not the
                  process that wrote them, so the sanitizer presets leave them out.
  --              what follows goes to the C++ test program: -- -tc='*gather*'. The Python tests are
                  then left out.

exit code: 0 all passed, 1 a test failed, 2 the tests could not be built or run

environment:
  ONNXTOOL_ONNX_SOURCE  onnx source tree or .tar.gz, instead of fetching it with pip
  ONNXTOOL_NODE_TESTS   directory of onnx's node tests, instead of fetching them with pip
  XDG_CACHE_HOME        where the built onnx, test data and Python packages are kept (default ~/.cache)
END
}

preset=release
doctest_arguments=()
while (($# > 0)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --preset) preset=${2:?"--preset needs a name"}; shift 2 ;;
    --preset=*) preset=${1#*=}; shift ;;
    --) shift; doctest_arguments=("$@"); break ;;
    *) printf 'error: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
  esac
done

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $preset =~ ^(release|debug|asan|tsan)$ ]] || fail "unknown preset $preset"

passed=0 failed=0 skipped=0

# The number before `word` in a summary line on stdin; 0 when there is none.
count_of() {
  local number
  number=$(grep -oE "[0-9]+ $1" | grep -oE '^[0-9]+' || true)
  printf '%s\n' "${number:-0}"
}

run_cpp_tests() {
  local log=build/$preset/tests.log code=0 summary ok bad left_out skip_lines
  say "tests: C++ ($preset), log in $log"
  # Not detect_stack_use_after_return: with it g++ 12 misaligns 64-byte vectors (GCC bug 110027). Not
  # detect_leaks: at the end of the process its tracer crashes at times, with threads of oneTBB about.
  # Tests ask for more memory than there is: that must come back as none, as it does without it.
  ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=0:strict_string_checks=1:detect_leaks=0:allocator_may_return_null=1} \
    UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1} \
    TSAN_OPTIONS=${TSAN_OPTIONS:-second_deadlock_stack=1} \
    "build/$preset/bin/onnxtool_tests" --no-colors=true "${doctest_arguments[@]}" </dev/null 2>&1 |
    tee "$log" || code=${PIPESTATUS[0]}
  summary=$(grep -a -E '^\[doctest\] test cases:' "$log" | tail -n 1 || true)
  if [[ -z $summary ]]; then
    # It died before the end: what had passed is unknown.
    printf 'error: the C++ tests ended with code %d before their summary\n' "$code" >&2
    failed=$((failed + 1))
    return
  fi
  ok=$(count_of passed <<<"$summary")
  bad=$(count_of failed <<<"$summary")
  # Cases that a filter left out are not counted; a case that cannot run here says so on a line.
  skip_lines=$(grep -a -c '^SKIP: ' "$log" || true)
  if ((code != 0 && bad == 0)); then
    printf 'error: no C++ test failed, yet the program ended with code %d\n' "$code" >&2
    bad=1
  fi
  passed=$((passed + ok - skip_lines))
  failed=$((failed + bad))
  skipped=$((skipped + skip_lines))
}

# Sets `python` to an interpreter with the pinned packages, or to nothing.
prepare_python() {
  python=
  command -v python3 >/dev/null || return 0
  local requirements=tests/python/requirements.txt key venv
  key=$({ cat "$requirements"; python3 -c 'import sys; print(sys.executable, sys.version)'; } | sha256sum | cut -c1-12)
  venv=$cache_dir/python-$key
  if [[ ! -e $venv/complete ]]; then
    say "python: installing the pinned packages of $requirements into $venv"
    rm -rf "$venv"
    mkdir -p "$cache_dir"
    if ! python3 -m venv "$venv" >"$cache_dir/python.log" 2>&1 ||
      ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --requirement "$requirements" </dev/null >>"$cache_dir/python.log" 2>&1; then
      tail -n 3 "$cache_dir/python.log" >&2
      rm -rf "$venv"
      return 0
    fi
    touch "$venv/complete"
  fi
  python=$venv/bin/python
}

run_python_tests() {
  local log=build/$preset/python-tests.log code=0 ran bad=0 left_out=0 summary word
  compgen -G 'tests/python/test_*.py' >/dev/null || return 0
  prepare_python
  if [[ -z $python ]]; then
    left_out=$(cat tests/python/test_*.py | grep -c -E '^ +def test_' || true)
    say "python: the packages cannot be had here, skipping $left_out tests"
    skipped=$((skipped + left_out))
    return
  fi
  say "tests: Python, log in $log"
  ONNXTOOL_SOURCE_DIR=$repository ONNXTOOL_BINARY=$repository/build/$preset/bin/onnxtool \
    PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest discover --verbose -s tests/python -p 'test_*.py' </dev/null 2>&1 |
    tee "$log" || code=${PIPESTATUS[0]}
  # "Ran 7 tests in 1.2s", then "OK (skipped=1)" or "FAILED (failures=1, errors=2, skipped=1)".
  ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in .*/\1/p' "$log" | tail -n 1)
  summary=$(grep -a -E '^(OK|FAILED|NO TESTS RAN)' "$log" | tail -n 1 || true)
  for word in failures errors 'unexpected successes'; do
    [[ $summary =~ $word=([0-9]+) ]] && bad=$((bad + BASH_REMATCH[1]))
  done
  [[ $summary =~ skipped=([0-9]+) ]] && left_out=${BASH_REMATCH[1]}
  ran=${ran:-0}
  if ((code != 0 && bad == 0)); then
    printf 'error: the Python tests ended with code %d\n' "$code" >&2
    bad=1
  fi
  # A file whose tests are not found would pass for ever.
  for word in tests/python/test_*.py; do
    word=$(basename "$word" .py)
    grep -q -a -E "[(.]$word[.)]" "$log" && continue
    printf 'error: tests/python/%s.py: no test of it ran\n' "$word" >&2
    failed=$((failed + 1))
  done
  # An error outside a test (an import, a class set-up) counts as failed but not as run.
  passed=$((passed + (ran > bad + left_out ? ran - bad - left_out : 0)))
  failed=$((failed + bad))
  skipped=$((skipped + left_out))
}

# Tests use git as a reader of differences does, and look at HTML reports in a browser.
required+=(git)
optional+=(chromium)
install_packages
build "$preset"
prepare_node_tests
run_cpp_tests
if [[ ($preset == release || $preset == debug) && ${#doctest_arguments[@]} == 0 ]]; then
  run_python_tests
fi

printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0)) || exit 1
