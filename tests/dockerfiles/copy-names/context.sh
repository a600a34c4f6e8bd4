for name in 'é ü' ..x 日本 -dash '#hash' 'a\b' '"quoted"' ':colon' 'new
line'; do echo x > "./$name"; done
printf x > "$(printf 'not-utf8-\377')"
