// Package webtest watches sessions as an auditor does: in a browser, through the
// page and the server that everybody gets, over an installation that runs for
// real. It holds tests only.
//
// They need Chromium and tmux, which scripts/install-test-deps.sh installs, and
// the page, which scripts/build-web.sh builds; without them they fail. Pictures of
// what the browser showed are left in TAPEDECK_SCREENSHOTS, or else under
// bin/screenshots.
package webtest
