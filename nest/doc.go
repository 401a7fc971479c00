// Package nest runs a nested host: a virtual machine with a Linux kernel that
// has what this host's kernel lacks (vsock namespaces, vhost-vsock), with this
// vmlaunch, QEMU and the built-in guests in it. What runs in there is the real
// thing; only it is emulated, so it takes longer.
//
// A nest runs until it is taken down, whoever started it. Its folder in the run
// directory holds its keys and logs; whether it runs is asked of the kernel.
package nest
