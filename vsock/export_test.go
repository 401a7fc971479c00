package vsock

// Claimable is what Claimed does where a connection tells nothing: on a host that
// is a guest, which no nest is.
func Claimable(c CID) (bool, error) { return claimable(c) }
