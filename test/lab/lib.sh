# Shared by the scripts of the lab and of test/kernels: messages, packages, mirrors,
# and how to start a process that cannot outlive us.
# shellcheck shell=bash disable=SC2034 # used by those who source it

say() { printf '%s: %s\n' "${sayer:-lab}" "$*" >&2; }
die() { say "$*"; exit 125; }

# An ordinary user's PATH often lacks where iptables and ipvsadm live.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Where the kernel comes from: a suite of Debian or Ubuntu, of which the newest
# linux-source is taken, or the one of a version that stands behind a slash. The usual
# one is new enough for today's CPUs, yet built for a stable Debian.
usual_source=trixie-backports
kernel_sources=(bullseye bookworm trixie trixie-backports jammy-updates/5.15 bionic-updates/4.18)
kernel_source=${LAB_SUITE:-$usual_source}

# config - prints what the kernel has, with what $LAB_CONFIG asks for, too: others than the
# usual one know parts of it by another name.
config() {
  cat "$lab/um.config" ${LAB_CONFIG:+"$LAB_CONFIG"}
  [[ $kernel_source == "$usual_source" ]] || cat "$lab/um.older.config"
}

# What tests call, and the package that has it.
lab_tools=(
  ip:iproute2 iptables:iptables ipset:ipset ipvsadm:ipvsadm nft:nftables
  conntrack:conntrack sysctl:procps ping:iputils-ping ethtool:ethtool
  tcpdump:tcpdump socat:socat jq:jq
)
# What building the kernel takes.
build_tools=(
  flex:flex bison:bison bc:bc gcc:gcc make:make xz:xz-utils
  dpkg-deb:dpkg /usr/include/libelf.h:libelf-dev
)

# lacking COMMAND:PACKAGE... - prints the packages of the commands (or files, where the name
# begins with a slash) that are not there, a line each.
lacking() {
  local entry what
  for entry; do
    what=${entry%%:*}
    case $what in
      /*) [[ -e $what ]] || echo "${entry#*:}" ;;
      *) command -v "$what" >/dev/null || echo "${entry#*:}" ;;
    esac
  done
}

# need COMMAND:PACKAGE... - sees to it that none is lacking.
need() {
  local missing
  mapfile -t missing < <(lacking "$@")
  ((${#missing[@]})) || return 0

  command -v apt-get >/dev/null ||
    die "please install these first (Debian's names): ${missing[*]}"
  ((EUID == 0)) ||
    die "please install these first: sudo apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  # The lock options make apt wait for another apt instead of giving up.
  if ! { apt-get -o DPkg::Lock::Timeout=300 update &&
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
      install -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "could not install ${missing[*]}"
  fi
  rm -f "$log"
}

# mirrors - where apt is set up to get Debian (and whatever else) from.
mirrors() {
  if [[ ${LAB_MIRROR:-} ]]; then
    echo "$LAB_MIRROR"
    return
  fi
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
    [[ -r $file ]] || continue
    sed -nE '/^(deb|URIs:) ?/!d; s/ +/\n/g; p' "$file"
  done | grep -E '^[a-z+]+:/' | sed 's,/*$,,' | awk '!seen[$0]++'
}

# leashed COMMAND... - COMMAND, bound to die with this shell however the shell
# ends. Use it as the whole of a background job: then $! is the process to
# kill, and killing that takes everything below it along.
#
# SIGKILL leaves nobody to clean up, so the kernel has to do it: the parent-
# death signal takes the first process, and a pid namespace takes the rest.
# The namespace's first process is a shell that waits, since a program which
# does not expect to be pid 1 may ignore signals it should not.
leashed() {
  # shellcheck disable=SC2016 # for the inner shell
  exec setpriv --pdeathsig KILL "${leash[@]}" \
    sh -c 'setpriv --pdeathsig KILL "$@"; exit $?' sh "$@"
}

# Not everybody may make a pid namespace; parent-death signals are the next
# best thing (every User-Mode Linux process asks for one).
find_leash() {
  local as=(unshare --pid --fork --kill-child=KILL)
  if "${as[@]}" true 2>/dev/null; then
    leash=("${as[@]}")
  elif "${as[@]}" --user --map-root-user true 2>/dev/null; then
    leash=("${as[@]}" --user --map-root-user)
  else
    leash=()
  fi
}
