# cp: destinations, names, owners, and errors.
filled() { D run -d --net none --name $N busybox sh -c 'mkdir -p /d/e; echo a>/d/a; echo b>/d/e/b
        ln -s /d /ld; ln -s a /d/la; ln /d/a /d/h; chmod 4750 /d/a; chown -R 7:8 /d
        touch -d @1000000000 /d/a; touch /done; sleep 1000' >/dev/null
    until D exec $N test -e /done; do sleep 0.1; done; }
folder() { mkdir -p s/e; echo a>s/a; echo b>s/e/b; ln -s a s/la; ln -s s ls; ln s/a s/h
    chown -hR 7:8 s; chmod 4755 s/e/b; touch -d @1000000000 s/a; }
copy() { D cp "$@"; echo "$? ${*/#$N/c}"; }
inside() { D cp "$1" - | tar tvf - | sed 's/ *[0-9]* 2026-[0-9-]* [0-9:]*//' | sort -k4; }

## out of a container
filled; mkdir o; for t in o o/new o/nosuch/x; do copy $N:/d $t; done
copy $N:/d/. o/new2; copy $N:/d/. o/new; copy $N:/ld o/ld; copy $N:/ld/ o/ld2; copy $N:/ld/. o/ld3
copy -L $N:/ld o/ld4; copy $N:/d/la o; copy -L $N:/d/la o; copy $N:/d/a o/f/; copy $N:/d/a o/f
copy $N:/d/a o; copy $N:/d o/f; copy -a $N:/d o/arch; copy -q $N:d o/rel; ln -s o lo
copy $N:/d/a lo; copy $N:/d/a lo/q; ln -s o/through lf; copy $N:/d/a lf; copy $N:/ld lf
find . | sort | xargs stat -c '%n %a %u:%g %h %s %F'; stat -c %Y o/a

## out of a stopped container
D create --net none --name $N -v /vol busybox true >/dev/null; copy $N:/bin/busybox .; copy $N:/etc/passwd x
cmp x <(D run --rm --net none busybox cat /etc/passwd) && stat -c %a busybox
copy $N:/vol .; ls -d vol; D diff $N | grep -v vol; D start $N; copy $N:/vol .; D rm -v $N
copy $N:/vol .

## missing paths
filled; for s in /nosuch /d/a/ /d/a/. /d/nosuch/. ''; do copy $N:$s o; done; mkdir o; copy $N:/ o; ls o/d
copy nosuch:/x o; copy o/f o; copy $N:/a $N:/b; D cp a; echo $?; D cp a b c; echo $?
copy nosuch $N:/; copy nosuch/. $N:/; copy $N:/d/a /nosuch/dir/x; copy a:b c:d; copy $N:/x ./a:b

## as a tar stream
filled; for p in /d /d/. /ld /d/a d/../d/e /d/e/ /ld/ /ld/e; do echo $p; inside $N:$p; done
D cp -L $N:/ld - | tar tf - | sort; D cp $N:/etc/. - | tar xOf - ./passwd | head -1
D cp $N:/ - | tar tf - 2>/dev/null | grep -c '^/*bin/busybox$'

## into a container
D run -d --net none --name $N busybox sleep 1000 >/dev/null; folder
copy s $N:/home; copy s/. $N:/home/n; copy ls $N:/home/ls; copy -L ls $N:/home/ls2
copy ls/ $N:/home/ls3; copy ls/. $N:/home/ls4; copy s/la $N:/home/; copy -L s/la $N:/home/lla
copy -a s/a $N:/home/f; copy s $N:/home/f; copy s/a $N:/home/s/e; copy s/a $N:/home/nd/
copy s/a $N:/nodir/x; copy s $N:/home/la; inside $N:/home; copy s/a $N:rel; copy s/a $N:/../../e
copy s/e $N:/home/s/a; copy s/a $N:/home/s; mkdir -p z/a; copy z/a $N:/home/s; copy z/. $N:/home/s
copy s/a $N:; inside $N:/rel; inside $N:/e; D exec $N stat -c '%Y %a %h' /home/s/a /home/s/h

## into a stopped container
D create --net none --name $N busybox sh -c 'cat /f; ls -ln /d' >/dev/null; echo hello > f; mkdir d
chown 3:4 f d; copy f $N:/; copy d $N:/; copy f $N:/d; copy f $N:/bin; D start -a $N
D diff $N | sort; copy f $N:/again; inside $N:/again

## special files and names
D run -d --net none --name $N busybox sleep 1000 >/dev/null; mkfifo fi; copy fi $N:/fi; inside $N:/fi
copy /dev/null $N:/null; inside $N:/null; echo x > x; copy x $N:/null; copy x $N:/dev/zero
copy x $N:/dev/null; echo y > 'c:d'; copy ./c:d $N:/c:d; copy $N:/c:d c; cat c; copy x $N:/etc/hosts
D exec $N head -1 /etc/hosts; : > 'a b'; copy 'a b' $N:/; inside $N:'/a b'; echo w > .wh.x
copy .wh.x $N:/; inside $N:/.wh.x; truncate -s 1000000 hole; copy hole $N:/; inside $N:/hole

## volumes and read-only mounts
D run -d --net none --name $N -v /vol -v $PWD:/ro:ro busybox sleep 1000 >/dev/null; echo x > x
copy x $N:/vol/y; D exec $N cat /vol/y; copy x $N:/ro/y; copy $N:/ro/x z; inside $N:/vol; D rm -fv $N
D run -d --read-only --net none --name $N -v /vol busybox sleep 1000 >/dev/null
copy x $N:/y; copy x $N:/vol/y; inside $N:/vol; D rm -fv $N

## a tar stream into a container
D run -d --net none --name $N busybox sleep 1000 >/dev/null; folder
tar cf - s | copy - $N:/home/tt; D exec $N mkdir /home/tt; tar cf - s | copy - $N:/home/tt
tar cf - -C s . | copy -a - $N:/home; inside $N:/home; echo bad | copy - $N:/home
tar cf - s/e/b | copy - $N:/home/tt/s/e; inside $N:/home/tt/s/e; tar cf - s/a | copy - $N:/home/tt/s/a
tar cPf - --transform 's,^,../../,' s/a 2>/dev/null | copy - $N:/home/tt; D exec $N ls /s/a; echo $?
