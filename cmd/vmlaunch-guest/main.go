// Vmlaunch-guest is PID 1 of the built-in linux guest and of the nested host.
// It makes the system usable (mounts, modules, network), serves SSH, tells the
// host that it is ready, reaps what dies, and ends the machine cleanly.
//
// What it is to be stands in one file, see package agentconfig. It needs
// nothing else from the root file system; a shell is used where there is one.
//
// Called inside a running guest, not as PID 1, it asks PID 1 for an end, or is
// what serves files to scp and sftp, which PID 1 starts:
//
//	vmlaunch-guest poweroff|reboot|halt
//	vmlaunch-guest sftp-server
package main

import (
	"fmt"
	"os"
)

func main() {
	if os.Getpid() == 1 {
		boot() // does not return
	}
	os.Exit(run(os.Args[1:]))
}

// run does what args say in a running guest. It returns the process's exit code.
func run(args []string) int {
	if len(args) == 1 && args[0] == sftpServer {
		return serveFiles()
	}
	return ask(args)
}

// ask signals PID 1 as busybox's poweroff, reboot and halt do. It returns the
// process's exit code.
func ask(args []string) int {
	if len(args) == 1 {
		if e, err := parseEnding(args[0]); err == nil {
			if err := e.ask(); err != nil {
				fmt.Fprintf(os.Stderr, "vmlaunch-guest: %s: %v\n", e, err)
				return 1
			}
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, "usage: vmlaunch-guest poweroff|reboot|halt|sftp-server (the agent itself runs as PID 1 only)")
	return 2
}
