// Package layout holds the tests that keep the tree in the shape its documents
// promise: which package imports which, what a doc comment has to say, how long
// a file and a function may get. [Block] holds a part of a document to the code
// that it tells about. It is for tests only.
package layout
