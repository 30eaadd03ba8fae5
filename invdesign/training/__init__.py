"""All that `invdesign train` needs; nothing else imports it."""
