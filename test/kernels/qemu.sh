# Runs the lab's machine on a distribution's kernel, of which no module is loaded,
# in QEMU. Sourced by test/lab/run, after lib.sh.
# shellcheck shell=bash disable=SC2154 # names shared with `run`

qemu_tools=(
  qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio
  modprobe:kmod xz:xz-utils zstd:zstd
)

# start_qemu - boots the kernel of the folder $LAB_KERNEL, one of those that fetch makes.
start_qemu() {
  local version port ports=() console=file:$job/console
  [[ ! ${LAB_VERBOSE:-} ]] || console=file:/dev/stderr
  version=$(ls "$LAB_KERNEL/modules")
  initramfs "$version" >"$job/initramfs"
  mkfifo "$job/out" "$job/err"
  setpriv --pdeathsig KILL cat <"$job/out" &
  relays+=($!)
  setpriv --pdeathsig KILL cat <"$job/err" >&2 &
  relays+=($!)
  for port in out err; do
    ports+=(-chardev "file,id=$port,path=$job/$port" -device "virtserialport,chardev=$port,name=$port")
  done
  # A kernel that finds a fault in itself ends the machine, which otherwise may stand
  # still until its time is up. The clock is read from a device, since the guest measures the frequency of its
  # counters wrong where others use this machine, too.
  leashed qemu-system-x86_64 -accel "${LAB_ACCEL:-tcg,thread=multi,tb-size=512}" -cpu max \
    -smp 1 -m "${LAB_MEM:-4G}" -nodefaults -display none -no-reboot -nic none \
    -kernel "$LAB_KERNEL/boot/vmlinuz-$version" -initrd "$job/initramfs" \
    -append "console=ttyS0 oops=panic panic=-1 mitigations=off random.trust_cpu=on clocksource=acpi_pm no_timer_check
      quiet ${LAB_VERBOSE:+ignore_loglevel} lab_job=$job lab_mode=qemu lab_tty= lab_verbose=${LAB_VERBOSE:-} ${LAB_APPEND:-}" \
    -serial "$console" -device virtio-rng-pci -device virtio-serial-pci "${ports[@]}" \
    -virtfs local,path=/,mount_tag=outside,security_model=none,multidevs=remap,readonly=on \
    -virtfs "local,path=$LAB_KERNEL/modules,mount_tag=modules,security_model=none,readonly=on" \
    -virtfs "local,path=$job,mount_tag=job,security_model=none" </dev/null >&2 &
  machine=$!
}

# initramfs VERSION - prints what the kernel starts from.
initramfs() {
  local files=$job/files module name n=100
  mkdir -p "$files/bin" "$files/modules" "$files/often" "$files/lib"
  cp "$(type -P busybox)" "$files/bin/busybox"
  cp "$lab/../kernels/boot" "$files/init"
  ln -s "$LAB_KERNEL/modules" "$files/lib/modules"
  for module in virtio_pci 9p 9pnet_virtio overlay virtio_rng virtio_console; do
    modprobe -d "$files" -S "$1" --show-depends "$module" 2>/dev/null || true
  done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r module; do
    n=$((n + 1)) name=$(basename "$module")
    case $module in
      *.xz) xz -dc "$module" ;;
      *.zst) zstd -qdc "$module" ;;
      *) cat "$module" ;;
    esac >"$files/modules/$n-${name%%.*}"
  done
  rm "$files/lib/modules"
  often | sort -u | sed 's,^/,,' | (cd / && cpio -pdm --quiet "$files/often")
  (cd "$files" && find . | cpio -o -H newc --quiet)
  rm -rf "$files"
}

# often - prints which files programs in there open again and again: they are copied
# into its memory, since every file outside that is opened costs it milliseconds.
often() {
  local tool file
  for tool in bash sh env ip tc bridge ipset ipvsadm conntrack nft sysctl ping ethtool \
    tcpdump socat jq cat grep sed awk seq sleep stat chroot unshare nsenter mount \
    modprobe {ip,ip6}tables{,-nft,-legacy}{,-save,-restore}; do
    file=$(type -P "$tool") || continue
    echo "$file"
    ldd "$file" 2>/dev/null | grep -oE '/[^ )]+' || true
  done | sort -u | while read -r file; do chain "$file"; done
  find /usr/lib/x86_64-linux-gnu/xtables /etc/iproute2 /etc/protocols /etc/services /etc/passwd \
    /etc/nsswitch.conf /etc/ld.so.cache 2>/dev/null || true
}

# chain FILE - prints it, by the folder where it really is, and what it links to.
chain() {
  local file
  file=$(realpath "$(dirname "$1")")/$(basename "$1")
  echo "$file"
  [[ ! -L $file ]] || (cd "$(dirname "$file")" && chain "$(readlink "$file")")
}
