// Package s3store keeps recordings in an S3 bucket.
//
// It is an adapter: it maps what Tapedeck needs of an object store onto S3
// calls, gives every outcome that a caller must act on an error of its own
// ([ErrUploadGone], [ErrExists] and so on), and adds nothing else. The contract
// of each method of [Store] is on the method, and package storetest checks each
// of its sentences against a real server.
//
// # Durability
//
// A part, an object or a finished upload counts as stored when the method that
// stored it has returned nil, and not before. S3 itself promises that. A gateway
// over a plain file system need not: with [Options].SyncDir set, the file
// system is synced before any of these methods returns nil.
//
// # Retries
//
// There is exactly one layer of retries in this package, and it is bounded: the
// SDK's standard retryer sends a request up to [Options].Attempts times. A body
// that breaks off while it is read is resumed where it broke, because the SDK
// does not do that, and under the same bound. Whoever wants to try for longer
// calls again; every method is safe to call again.
package s3store
