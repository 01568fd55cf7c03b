# The session that `tapedeck demo` records: colours, Unicode, a progress line
# and a few pages of output, in about two seconds.
printf '\033[1;32mdemo@tapedeck\033[0m:~$ whoami; date; echo "Grüße, 世界 🎛"\r\n'
sleep 0.2
whoami; date; echo "Grüße, 世界 🎛"
sleep 0.3
printf '\033[1;32mdemo@tapedeck\033[0m:~$ '
for word in count to one hundred; do printf '%s ' "$word"; sleep 0.08; done
printf '\n'
i=1
while [ $i -le 100 ]; do
	printf '\rcounting \033[36m%3d\033[0m' $i
	i=$((i + 1))
done
printf '\n'
for n in 1 2 3; do printf '\033[3%dm%s\033[0m\n' $n "line $n of the last words"; sleep 0.1; done
printf '\033[1;32mdemo@tapedeck\033[0m:~$ exit\n'
