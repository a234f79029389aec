# Gets packages of suites of Debian and Ubuntu by apt, which checks the signatures, with
# lists and folders of its own: this machine's apt stays as it is, and nothing is
# installed. Sourced after lib.sh.
#
#   LAB_MIRROR     Debian mirror (one that apt knows)
#   UBUNTU_MIRROR  Ubuntu mirror (http://archive.ubuntu.com/ubuntu)
# shellcheck shell=bash

is_ubuntu() { [[ $1 =~ ^(bionic|focal|jammy|noble)(-|$) ]]; }

# apt_for SUITE FOLDER - sets $apt to the options by which apt-get and apt-cache know that
# suite alone, from the first mirror that has it, and keep all in the folder.
apt_for() {
  local mirror all=() keys=''
  if is_ubuntu "$1"; then
    find_ubuntu_keys "$2" || return
    all=("${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}")
  else
    find_debian_keys
    mapfile -t all < <(mirrors)
  fi
  for mirror in "${all[@]}"; do
    ! apt_of "$1" "$2" "$mirror" "$keys" || return 0
  done
  return 1
}

# find_debian_keys - sets $keys to the file of the keys that sign Debian's archive, or to
# nothing: apt may have them elsewhere.
find_debian_keys() {
  keys=$(find /usr/share/keyrings -name 'debian-archive-keyring.[gp]*' 2>/dev/null | tail -n 1) || true
}

# find_ubuntu_keys FOLDER - as above. They are a package of Debian.
find_ubuntu_keys() {
  keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
  [[ ! -e $keys ]] || return 0
  keys=$1/ubuntu$keys
  [[ ! -e $keys ]] || return 0
  apt_for trixie "$1" && mkdir -p "$1/ubuntu" && (cd "$1/ubuntu" && apt-get "${apt[@]}" download ubuntu-keyring) &&
    dpkg-deb -x "$1"/ubuntu/ubuntu-keyring_*.deb "$1/ubuntu" || return
  keys=$1/ubuntu/usr/share/keyrings/ubuntu-archive-keyring.gpg
}

# apt_of SUITE FOLDER MIRROR KEYS - as apt_for, from that mirror.
apt_of() {
  local dir=$2/$1
  rm -rf "$dir"
  mkdir -p "$dir/lists/partial" "$dir/archives/partial"
  echo "deb [arch=amd64 ${4:+signed-by=$4}] $3 $1 main" >"$dir/sources.list"
  apt=(
    -qq
    -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$dir/lists" -o Dir::State::Status=/dev/null
    -o Dir::Cache="$dir" -o Debug::NoLocking=1
    -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false
    -o APT::Sandbox::User="$(id -un)"
  )
  apt-get "${apt[@]}" -o APT::Update::Error-Mode=any update
}

# newest NAMES - the newest package whose name the regular expression matches.
newest() {
  apt-cache "${apt[@]}" search --names-only "$1" | cut -d' ' -f1 | sort -V | tail -n 1
}
