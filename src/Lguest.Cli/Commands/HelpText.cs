// `lguest --help`: the page that most users read first, and often the only one.

namespace Lguest.Cli.Commands;

internal static class HelpText
{
    public const string Text = """
        lguest runs a Linux Guest in an ordinary process: no root, no kernel module, no /dev/kvm.

        Usage:
          lguest                                 boot the default Guest to a shell in this terminal
          lguest debian [options]                boot Debian's own i686 kernel, unmodified, on a PC
          lguest run [options]                   boot a kernel of your choice
          lguest [options] <megabytes> <kernel> [kernel arguments...]
                                                 the original command line of 2007
          lguest tour [chapter]                  explain this program by its own sources

        Options of 'lguest run' and 'lguest debian':
          --platform NAME    lguest (the default), or pc for kernels that know nothing of lguest
          --kernel FILE      i386 vmlinux or bzImage, for lguest with CONFIG_LGUEST_GUEST; the default Guest's without it
          --multiboot FILE   i386 multiboot program, on a PC; port E9h prints, port F4h exits with 2V+1
          --rom FILE         ROM image, on a PC, started as after a reset
          --distro debian    as 'lguest debian'
          --trace-port PORT  print what a PC's Guest writes to a port, such as 0x190; repeatable
          --initrd FILE      initial RAM disk
          --memory SIZE      Guest memory, such as 64M (the default; a PC has 256M) or 1G; a plain number is megabytes
          --cmdline TEXT     kernel command line (or --append)
          --engine NAME      auto (the default) or interpreter
          --block FILE[,readonly|,snapshot]
                             disk: a raw image or a block device; repeatable. A snapshot forgets what was written
          --net user[,hostfwd=tcp:[ADDR]:PORT-[GUEST]:PORT]...
                             network without privilege (needs libslirp0); the host is 10.0.2.2
          --tunnet ADDR|bridge:NAME
                             network with the host by a TAP interface (needs CAP_NET_ADMIN); repeatable
          --sharenet FILE    network with the Guests that name the same file; repeatable
          --share FOLDER:TAG[,readonly]
                             folder for a Guest on a PC to mount: mount -t 9p -o trans=virtio TAG /mnt; repeatable
          --no-reboot        leave when the Guest restarts; else it starts again from its image
          -v, --verbose      print setup and traffic details on standard output

        Options of the original form:
          --initrd=FILE      initial RAM disk; the last one wins
          --block=FILE[...]  as above; as are --net=, --tunnet= and --sharenet=
          -v, --verbose      as above
          Option values are attached with '='; kernel arguments must not begin with '-'.

        Keys in the Guest's terminal:
          Ctrl-A x           leave at once       Ctrl-A c   monitor: what the Guest costs
          Ctrl-A h           list these keys     Ctrl-A a   send Ctrl-A to the Guest
          Ctrl-C three times within a second ends even a Guest that no longer answers.
          Without a terminal, standard input is the Guest's console as it is; its end does not stop the Guest.

        Exit status:
          0    the Guest powered off, or you left it
          1    bad input, or the Guest died: the reason is on standard error
               (original form: any end of the Guest, as in 2007)
          2    Ctrl-C three times
          128+n  ended by signal n
          a test program on a PC chooses its own by port F4h

        Examples:
          lguest
          echo 'uname -a; poweroff -f' | lguest
          lguest run --kernel vmlinux --initrd initramfs.cpio --memory 128M --cmdline "loglevel=3"
          lguest debian --block disk.img --net user
          lguest --initrd=initramfs.cpio 64 vmlinux loglevel=3

        """;
}
