CREATE DATABASE IF NOT EXISTS bootstrap_drill;
CREATE USER IF NOT EXISTS 'bootstrap'@'%';
ALTER USER 'bootstrap'@'%' IDENTIFIED BY '{{ mariadb.drill_password | replace("\\", "\\\\") | replace("'", "''") }}';
GRANT ALL ON bootstrap_drill.* TO 'bootstrap'@'%';
{% if mariadb.database %}
CREATE DATABASE IF NOT EXISTS `{{ mariadb.database }}`;
CREATE USER IF NOT EXISTS '{{ mariadb.user }}'@'%';
ALTER USER '{{ mariadb.user }}'@'%' IDENTIFIED BY '{{ mariadb.password | replace("\\", "\\\\") | replace("'", "''") }}';
GRANT ALL ON `{{ mariadb.database }}`.* TO '{{ mariadb.user }}'@'%';
{% endif %}
