echo x > '[x]'
