# Draws docs/images/governor_step.svg from the simulation of a step in the load:
#   bazel run //tests/engine/budget:governor_trace > trace.txt
#   gnuplot -e "trace='trace.txt'; out='docs/images/governor_step.svg'" tests/engine/budget/governor_step.gnuplot
set terminal svg size 800,420 font "sans,12" background "white"
set output out
set key outside bottom center horizontal
set xlabel "seconds"
set ylabel "fraction"
set y2label "sequences running"
set yrange [0:1.05]
set y2range [0:*]
set ytics nomirror
set y2tics
set grid ytics
plot trace every 4 using 1:3 with lines lc rgb "#bbbbbb" title "wanted KV fraction", \
     trace every 4 using 1:2 with lines lw 2 lc rgb "#1f5fa8" title "KV fraction", \
     trace every 4 using 1:4 with lines lc rgb "#c0392b" title "used / budget", \
     trace every 4 using 1:5 axes x1y2 with lines lc rgb "#2e8b57" title "running"
