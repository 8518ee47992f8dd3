#!/usr/bin/env bash
# Opens a leaderboard's page in headless Chromium: it must be whole without network and say nothing on
# the console. Writes pictures of it, for looking at.
#
#   scripts/check_report.sh PAGE.html [FOLDER]     pictures beside the page, or into FOLDER
#   HEIGHT=9000 scripts/check_report.sh PAGE.html  of so many pixels of it (4000)
#
# Ends with 1 where the page asks for anything or the console has an error, with 3 where there is no
# Chromium (CHROMIUM names one that is not in PATH).
set -euo pipefail

say() { printf 'check_report: %s\n' "$*" >&2; }

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ ! -f "$1" ]; then
    say "usage: scripts/check_report.sh PAGE.html [FOLDER]"
    exit 2
fi
page="$(realpath "$1")"
# What would end or change a path in an address.
address="file://$(sed 's/%/%25/g; s/ /%20/g; s/#/%23/g; s/?/%3F/g' <<<"$page")"
out="$(realpath -m "${2:-$(dirname "$page")}")"
name="$(basename "${page%.html}")"

browser="${CHROMIUM:-}"
for candidate in chromium chromium-browser google-chrome google-chrome-stable; do
    [ -n "$browser" ] || browser="$(command -v "$candidate" || true)"
done
if [ -z "$browser" ]; then
    say "no Chromium here, so the page was not opened. Install chromium, or name one in CHROMIUM."
    exit 3
fi

mkdir -p "$out"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# No host resolves: what a page of one file needs from elsewhere fails and is counted below.
open_page() {
    timeout 120 "$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --disable-extensions \
        --host-resolver-rules='MAP * ~NOTFOUND' --user-data-dir="$work/profile" "$@" "$address"
}

open_page --enable-logging=stderr --v=0 --log-net-log="$work/net.json" --dump-dom >"$work/dom.html" 2>"$work/log" ||
    { tail -n 5 "$work/log" >&2; say "$browser could not open $page"; exit 1; }

failed=0
if grep -q 'CONSOLE' "$work/log"; then
    grep 'CONSOLE' "$work/log" >&2
    say "the console is not empty"
    failed=1
fi
# Lazy pictures and media ask for nothing yet, so elements are read too. Text of the page has no bare "<".
if grep -oE '<(script|link|img|image|use|iframe|object|embed|audio|video|source|track)[ /][^>]*>' "$work/dom.html" |
    grep -oE ' (src|srcset|href|data|poster)="[^"]{0,80}' | grep -vE '="(data:|#)' >"$work/asked"; then
    head -n 5 "$work/asked" >&2
    say "the page asks for something outside itself"
    failed=1
fi
if grep -oE '"url":"(https?|ftp|wss?)://[^"]*"' "$work/net.json" | sort -u | grep -vE 'google(apis)?\.com|gvt1\.com' >"$work/requests"; then
    head -n 5 "$work/requests" >&2
    say "the page went to the network"
    failed=1
fi
grep -q '</html>' "$work/dom.html" || { say "the page has no document"; failed=1; }

# The upper part of the page: Chromium takes no picture of all of it without being told its height.
shot() {
    local file="$out/$name-$1.png"
    open_page --screenshot="$file" --window-size="$2" --blink-settings="preferredColorScheme=$3" >/dev/null 2>"$work/log" && [ -s "$file" ] ||
        { tail -n 5 "$work/log" >&2; say "no picture $file"; exit 1; }
    say "$file"
}
shot light "1280,${HEIGHT:-4000}" 1
shot dark "1280,${HEIGHT:-4000}" 0
shot phone "390,${HEIGHT:-4000}" 1
[ "$failed" = 0 ] && say "nothing on the console, nothing asked of the network"
exit "$failed"
