{%- set database = mariadb.database -%}
{%- set user = mariadb.user -%}
{%- set password = mariadb.password -%}
{%- set drill_password = mariadb.drill_password -%}
{% include "mariadb-start.sql" %}
