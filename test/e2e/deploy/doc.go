// Package deploy tests what is in the folder deploy with the programs that read it:
// systemd-analyze the units, dpkg the packages, promtool the alerts, logrotate the
// rotation of records. It changes nothing of the machine: packages are installed in
// an overlay of its root that is thrown away.
package deploy
