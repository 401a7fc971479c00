// Package forward passes connections on: it accepts them here, dials somewhere
// else for each, and carries bytes both ways until both sides have ended. It knows
// nothing of machines.
//
// What a connection shows is passed on as it is: the end of one direction while
// the other goes on, a reset, and that a reader takes no more. Bytes go from
// socket to socket by splice(2) where the kernel can, through a buffer elsewhere.
package forward
