//go:build !nofence

package uploadlog

// fenced says whether records carry the fence.
const fenced = true
