# Reads "watch PID", "forget PID" and "folder PATH" until the writer has died, then cleans up after
# it.
trap '' HUP INT TERM
pids=
while read -r verb argument; do
  case $verb in
    watch) pids="$pids $argument" ;;
    folder) set -- "$@" "$argument" ;;
    forget)
      kept=
      for pid in $pids; do [ "$pid" = "$argument" ] || kept="$kept $pid"; done
      pids=$kept
      ;;
  esac
done
for pid in $pids; do kill -s KILL -- "-$pid"; done
# A killed process may still be writing for a moment: try until the folders are gone, for five
# seconds.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf -- "$@" && break
  sleep 0.5
done
# A file may have been created between the last look into a folder and its death.
sleep 0.5
rm -rf -- "$@"
