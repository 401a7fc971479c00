// Package vsock speaks to the kernel about VM sockets: context IDs, the vsock
// mode of a network namespace, the descriptor that holds a guest's CID, and
// connections.
//
// Everything here happens in the network namespace of the calling thread, at
// the moment of the call. To act in another namespace, call these functions
// inside netns.(*NS).Do. What was opened there stays there: a Guard, a
// connection and a Listener keep their namespace wherever they are used later.
//
// Nothing is cached. The vsock module can be unloaded and loaded again, which
// makes every namespace global and unlocks child_ns_mode; so each call asks
// the kernel anew. docs/KERNEL.md lists the kernel objects and what was seen
// of them.
package vsock
