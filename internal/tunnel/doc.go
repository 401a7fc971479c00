// Package tunnel is how a connection to the forward service of the built-in guest
// begins: both sides prove who they are, the host says where it wants to be
// connected, the guest answers. From then on the connection is that target's, byte
// for byte, so it can be spliced; nothing is encrypted, since it never leaves the
// two kernels.
//
// The guest speaks first:
//
//	guest  greeting, nonce
//	host   nonce, target, client's public key, its signature
//	guest  host public key, answer, its signature
//
// Each signature is over both nonces, the other side's key, the target and, the
// guest's, the answer: it is worth nothing in another conversation. The host has
// sent nothing of a user's when it knows who answers.
package tunnel
