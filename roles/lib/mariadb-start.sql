CREATE DATABASE IF NOT EXISTS bootstrap_drill;
CREATE USER IF NOT EXISTS 'bootstrap'@'%';
ALTER USER 'bootstrap'@'%' IDENTIFIED BY '{{ drill_password | replace("\\", "\\\\") | replace("'", "''") }}';
GRANT ALL ON bootstrap_drill.* TO 'bootstrap'@'%';
{% if database %}
CREATE DATABASE IF NOT EXISTS `{{ database }}`;
CREATE USER IF NOT EXISTS '{{ user }}'@'%';
ALTER USER '{{ user }}'@'%' IDENTIFIED BY '{{ password | replace("\\", "\\\\") | replace("'", "''") }}';
GRANT ALL ON `{{ database }}`.* TO '{{ user }}'@'%';
{% endif %}
