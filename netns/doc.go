// Package netns makes, opens, identifies, enters and removes network
// namespaces, each with the vsock mode it is wanted with.
//
// # Threads
//
// A network namespace belongs to a thread, and Go moves goroutines between
// threads. (*NS).Do is the only place of this program that takes a thread
// elsewhere. It uses a thread of its own, brings it home before anyone else can
// run on it, and lets it die if that fails.
//
// The process's main thread is never taken. That matters: Go cannot retire it,
// and /proc/PID/ns/net, by which others find out where a process is, speaks of
// that thread alone. Do steps aside by itself when the scheduler hands it the
// main thread, so nothing is asked of package main: no init function, no
// runtime.LockOSThread. A program that moves its main thread by other means
// changes what "the namespace this process started in" is taken to be.
//
// Inside Do: sockets, /proc/sys/net, /dev/vhost-vsock and child processes
// belong to the namespace entered. Goroutines that are started there do not;
// they run wherever other threads are, which is home. A child must not use
// Pdeathsig, which is tied to the thread that started it.
//
// # Names
//
// Names are pins under /run/netns as iproute2 makes them: `ip netns` works on
// ours and this package works on its. Names that are made here are stricter
// than names that are opened. All changes of /run/netns are made under a flock
// on that directory, which `ip netns add` takes too.
//
// # The vsock mode
//
// A namespace gets its mode from its parent's child_ns_mode, which whoever
// writes first decides for the rest of the parent's life. So Create never
// writes that of a namespace others use: a local namespace is made in two
// steps, through an intermediate one that is gone at once.
package netns
