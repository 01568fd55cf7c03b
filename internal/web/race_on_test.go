//go:build race

package web_test

// raceOn: the race detector makes everything slower, so nothing is measured.
const raceOn = true
