#!/bin/sh
# Makes an empty SoftHSM token in a folder of its own. --help says more. It does without softhsm2-util, which takes PINs
# as arguments: any user of the machine could read them while it runs.
set -eu

usage() {
  cat <<'HELP'
usage: hsm/provision-softhsm.sh --folder DIR --pin-file FILE [--label LABEL] [--module PATH]

Makes an empty SoftHSM token, for an `init` that is to use one outside its data folder:

  hsm/provision-softhsm.sh --folder /var/lib/sallyport-token --pin-file /etc/sallyport/pin
  SOFTHSM2_CONF=/var/lib/sallyport-token/softhsm2.conf sallyport init --pkcs11-token sallyport --pin-file /etc/sallyport/pin

`init` makes the keys inside it. Without such a token `init` makes one of its own: this script is not needed then.

  --folder DIR     made (0700) for the token and its softhsm2.conf; must not be there yet
  --pin-file FILE  holds the user PIN, or is made (0400) with a new one of 256 bits; not inside DIR
  --label LABEL    the token's label (default: sallyport)
  --module PATH    SoftHSM's library (default: where distributions put it)

The security officer's PIN is random and kept nowhere. Prints one JSON document: module and token.
Where anything fails, DIR is not there afterwards, nor a PIN file made here.
HELP
}

fail() {
  echo "provision-softhsm: $1" >&2
  exit 1
}

folder='' pin_file='' label=sallyport module=''
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --folder | --pin-file | --label | --module) [ $# -ge 2 ] || fail "$1 needs a value: see --help." ;;
    *) fail "there is no $1: see --help." ;;
  esac
  case $1 in
    --folder) folder=$2 ;;
    --pin-file) pin_file=$2 ;;
    --label) label=$2 ;;
    --module) module=$2 ;;
  esac
  shift 2
done
[ -n "$folder" ] && [ -n "$pin_file" ] || fail 'name the token'\''s --folder and its --pin-file: see --help.'
[ ! -e "$folder" ] || fail "$folder is there already: name a folder that is not."
case $pin_file in "$folder"/*) fail 'the PIN may not lie beside the token: name another --pin-file.' ;; esac
if [ -z "$module" ]; then
  for place in /usr/lib/softhsm /usr/lib/*/softhsm /usr/lib64/softhsm /usr/lib64/pkcs11 /usr/local/lib/softhsm; do
    if [ -e "$place/libsofthsm2.so" ]; then module=$place/libsofthsm2.so; break; fi
  done
  [ -n "$module" ] || fail 'SoftHSM'\''s library was not found: install the package softhsm2, or name it with --module.'
fi

here=$(cd "$(dirname "$0")" && pwd)
umask 077
made_pin=''
undo() {
  status=$?
  if [ "$status" -ne 0 ]; then
    rm -rf "$folder"
    if [ -n "$made_pin" ]; then rm -f "$pin_file"; fi
  fi
  exit "$status"
}
mkdir -p "$folder/tokens"
trap undo EXIT
trap 'exit 1' HUP INT TERM
folder=$(cd "$folder" && pwd)
sed "s|@TOKENS@|$folder/tokens|" "$here/softhsm2.conf" >"$folder/softhsm2.conf"
SOFTHSM2_CONF=$folder/softhsm2.conf
export SOFTHSM2_CONF
if [ ! -e "$pin_file" ]; then
  made_pin=yes
  od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$pin_file"
  chmod 0400 "$pin_file"
fi

node=$here/../node_modules/.bin/node
[ -x "$node" ] || node=node
"$node" "$here/../src/keyholder/provision.ts" --module "$module" --token "$label" --create --empty <"$pin_file"
